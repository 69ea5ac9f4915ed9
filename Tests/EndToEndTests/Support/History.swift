import Synchronization

/// What several clients did to one thing, and when: to be checked against a sequential model of it.
///
/// The search is that of Wing and Gong, "Testing and verifying concurrent objects" (1993), with the memory of visited states that
/// Lowe added (2017).
struct History<Model: SequentialModel>: Sendable {
    struct Operation: Sendable {
        let client: Int
        let action: Model.Action
        let start: ContinuousClock.Instant
        /// `nil`: what became of it is not known. It may have been done at any time since, or not at all.
        let end: ContinuousClock.Instant?
    }

    private(set) var operations: [Operation] = []

    mutating func remove(where isNoMatter: (Operation) -> Bool) { operations.removeAll(where: isNoMatter) }

    mutating func add(_ operation: Operation) { operations.append(operation) }

    /// An order in which one after the other could have done all this is there; else the first operation that fits nowhere.
    func contradiction() -> Operation? {
        let known = operations.filter { $0.end != nil }.sorted { $0.start < $1.start }
        let unknown = Unknown(operations)
        var furthest = 0
        var seen: Set<Configuration> = []
        var stack = [Configuration(state: Model(), used: unknown.actions.map { _ in 0 })]
        while let configuration = stack.popLast() {
            guard configuration.next < known.count else { return nil }
            furthest = max(furthest, configuration.next)
            func go(on action: Model.Action, _ note: (inout Configuration) -> Void) {
                var next = configuration
                guard next.state.step(action) else { return }
                note(&next)
                if seen.insert(next).inserted { stack.append(next) }
            }
            // What may come next began before the first of the others ended.
            var candidates: [Int] = []
            var firstEnd: ContinuousClock.Instant?
            for index in configuration.next..<known.count where !configuration.done.contains(index) {
                if let firstEnd, known[index].start > firstEnd { break }
                candidates.append(index)
                firstEnd = [firstEnd, known[index].end].compactMap { $0 }.min()
            }
            // What comes last here is tried first: what is known, in order.
            for (number, action) in unknown.actions.enumerated() {
                guard let start = unknown.start(of: number, after: configuration.used[number]), firstEnd.map({ start <= $0 }) ?? true
                else { continue }
                go(on: action) { $0.used[number] += 1 }
            }
            for index in candidates.reversed() { go(on: known[index].action) { $0.note(index) } }
        }
        return known[furthest]
    }

    /// What may have been done or not. Of those that would have done the same, the first to begin might as well have been it: there
    /// would be as many ways to go as sets of them.
    private struct Unknown {
        private(set) var actions: [Model.Action] = []
        private var starts: [[ContinuousClock.Instant]] = []

        init(_ operations: [Operation]) {
            var places: [Model.Action: Int] = [:]
            for operation in operations.filter({ $0.end == nil }).sorted(by: { $0.start < $1.start }) {
                if let place = places[operation.action] {
                    starts[place].append(operation.start)
                } else {
                    places[operation.action] = actions.count
                    actions.append(operation.action)
                    starts.append([operation.start])
                }
            }
        }

        /// When the next of these began, `nil` after the last.
        func start(of action: Int, after used: Int) -> ContinuousClock.Instant? {
            starts[action].dropFirst(used).first
        }
    }

    private struct Configuration: Hashable {
        var state: Model
        /// Of each unknown action, how many were done.
        var used: [Int]
        /// Known ones, beyond `next`.
        var done: Set<Int> = []
        /// All known ones before it are done.
        var next = 0

        mutating func note(_ index: Int) {
            done.insert(index)
            while done.remove(next) != nil { next += 1 }
        }
    }
}

/// What one thing is, when one operation comes after the other.
protocol SequentialModel: Hashable, Sendable {
    associatedtype Action: Hashable, Sendable
    init()
    /// Whether the operation, with what it answered, can come now.
    mutating func step(_ action: Action) -> Bool
}

/// A file that is written and read whole.
struct RegisterModel: SequentialModel {
    enum Action: Hashable, Sendable {
        case write(Int), read(Int)

        var value: Int { switch self { case .write(let value), .read(let value): value } }
    }

    private var value = 0

    mutating func step(_ action: Action) -> Bool {
        switch action {
        case .write(let value):
            self.value = value
            return true
        case .read(let value): return self.value == value
        }
    }
}

/// A name that is made and removed; each of these succeeded.
struct NameModel: SequentialModel {
    enum Action: Hashable, Sendable { case made, removed }

    private var isThere = false

    mutating func step(_ action: Action) -> Bool {
        guard isThere == (action == .removed) else { return false }
        isThere.toggle()
        return true
    }
}

/// A number that grows by one under a lock, and what each client found there.
struct CounterModel: SequentialModel {
    typealias Action = Int

    private var value = 0

    mutating func step(_ found: Int) -> Bool {
        guard found == value else { return false }
        value += 1
        return true
    }
}

/// Histories of many things, noted by many threads.
final class Recorder<Model: SequentialModel>: Sendable {
    private let histories = Mutex<[Int: History<Model>]>([:])

    func note(_ key: Int, _ operation: History<Model>.Operation) {
        histories.withLock { $0[key, default: History()].add(operation) }
    }

    func change(_ body: (inout History<Model>) -> Void) {
        histories.withLock { histories in
            for key in histories.keys { body(&histories[key, default: History()]) }
        }
    }

    var count: Int { histories.withLock { $0.values.reduce(0) { $0 + $1.operations.count } } }

    func requireLinearizable(_ what: String) throws {
        for (key, history) in histories.withLock({ $0 }) {
            guard let bad = history.contradiction() else { continue }
            let near = history.operations.filter { operation in
                operation.start < bad.start + .seconds(1) && (operation.end.map { $0 > bad.start - .seconds(3) } ?? true)
            }
            let lines = near.sorted { $0.start < $1.start }.map { operation in
                "client \(operation.client) \(operation.action): \(operation.start - bad.start) to \(operation.end.map { "\($0 - bad.start)" } ?? "?")"
            }
            throw Failure("\(what) \(key): no order explains client \(bad.client) \(bad.action)\n\(lines.joined(separator: "\n"))")
        }
    }
}
