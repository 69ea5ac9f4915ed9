import Glibc
import Synchronization
import Testing

/// `LANFS_SEED` replays one seed, `LANFS_SEEDS` says how many to run and `LANFS_FIRST_SEED` from which on, so that a long run can
/// be done in parts, `LANFS_MUTANT_SEEDS` how many at most until a mutant is found.
public func environment(_ name: String) -> UInt64? {
    getenv(name).flatMap { UInt64(String(cString: $0)) }
}

/// What simulations went through, added up over their seeds.
public protocol SimulationTally: Sendable, CustomStringConvertible {
    init()
    static func += (left: inout Self, right: Self)
}

private final class Broken: Sendable {
    let first = Mutex<(seed: UInt64, violation: String)?>(nil)
}

/// Runs a simulation for many seeds, on all processors, and prints what it went through. The lowest seed that breaks a rule
/// is recorded with the command that replays it.
///
/// - Parameters:
///   - test: "Suite/function", for that command.
///   - seeds: unless the environment says otherwise.
///   - failedOnce: run as well, whatever it says about how many.
public func simulate<Tally: SimulationTally>(
    _ name: String, test: String, seeds: UInt64, failedOnce: [UInt64] = [],
    _ run: @escaping @Sendable (UInt64, inout Tally) throws -> Void
) async -> Tally {
    let start = environment("LANFS_FIRST_SEED") ?? 0
    let range = start..<start + (environment("LANFS_SEEDS") ?? seeds)
    let seeds = environment("LANFS_SEED").map { [$0] } ?? Array(range) + failedOnce.sorted().filter { !range.contains($0) }
    let broken = Broken()
    let processors = max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN)))
    let tally = await withTaskGroup(of: Tally.self) { group in
        for processor in 0..<processors {
            group.addTask {
                var tally = Tally()
                for index in stride(from: processor, to: seeds.count, by: processors) {
                    let seed = seeds[index]
                    if let found = broken.first.withLock({ $0 }), found.seed < seed { break }
                    do {
                        try run(seed, &tally)
                    } catch {
                        broken.first.withLock { if seed < $0?.seed ?? .max { $0 = (seed, "\(error)") } }
                    }
                }
                return tally
            }
        }
        return await group.reduce(into: Tally()) { $0 += $1 }
    }
    if let (seed, violation) = broken.first.withLock({ $0 }) {
        Issue.record("seed \(seed): \(violation)\nreplay: LANFS_SEED=\(seed) swift test --filter \(test)")
    }
    print("\(name)\(start > 0 ? ", from \(start) on" : ""): \(seeds.count) seeds: \(tally.description)")
    return tally
}
