import Glibc
import Synchronization
import SystemPackage
import Testing

@Suite("Locks between two mounts", .serialized, .enabled(if: Machine.canMount))
struct LockSharingTests {
    /// A file of one of the mounts, for as long as the body takes.
    private func withOpen<Value>(_ path: String, _ body: (Int32) throws -> Value) throws -> Value {
        let file = open(path, O_RDWR | O_CREAT, 0o644)
        try check(file)
        defer { close(file) }
        return try body(file)
    }

    private func region(_ type: Int32, _ start: Int = 0, _ length: Int = 0) -> flock {
        var region = flock()
        region.l_type = Int16(type)
        region.l_whence = Int16(SEEK_SET)
        region.l_start = off_t(start)
        region.l_len = off_t(length)
        return region
    }

    private func lock(_ file: Int32, _ type: Int32, _ start: Int = 0, _ length: Int = 0, waits: Bool = false) -> Errno? {
        var region = region(type, start, length)
        return failure { try check(fcntl(file, waits ? F_SETLKW : F_SETLK, &region)) }
    }

    @Test("flock excludes and shares, and whoever is told that it is free finds it free")
    func whole() throws {
        try onTwoMounts { first, second in
            try withOpen(first("file")) { one in
                try withOpen(second("file")) { other in
                    for round in 0..<40 {
                        let (holder, asker) = round % 2 == 0 ? (one, other) : (other, one)
                        try check(flock(holder, LOCK_EX))
                        #expect(failure { try check(flock(asker, LOCK_SH | LOCK_NB)) } == .resourceTemporarilyUnavailable)
                        try check(flock(holder, LOCK_SH))
                        try check(flock(asker, LOCK_SH | LOCK_NB))
                        #expect(failure { try check(flock(asker, LOCK_EX | LOCK_NB)) } == .resourceTemporarilyUnavailable)
                        try check(flock(holder, LOCK_UN))
                        try check(flock(asker, LOCK_EX | LOCK_NB))
                        try check(flock(asker, LOCK_UN))
                    }
                    try check(flock(one, LOCK_EX))
                }
            }
            // The last close gives it up, soon after it.
            try withOpen(second("file")) { other in
                #expect(eventually(.seconds(5)) { flock(other, LOCK_EX | LOCK_NB) == 0 })
            }
        }
    }

    @Test("of two that share a lock of flock and both want it alone, one after the other gets it", arguments: [false, true])
    func upgrades(isOnOneMount: Bool) throws {
        try onTwoMounts { first, second in
            try withOpen(first("file")) { one in
                try withOpen((isOnOneMount ? first : second)("file")) { other in
                    try check(flock(one, LOCK_SH))
                    try check(flock(other, LOCK_SH))
                    let (outcome, later) = (Outcome(), Outcome())
                    onThread { outcome.end(failure { try check(flock(one, LOCK_EX)) }) }
                    usleep(200_000)
                    onThread { later.end(failure { try check(flock(other, LOCK_EX)) }) }
                    // Either may come first.
                    try #require(eventually(.seconds(20)) { outcome.isOver || later.isOver })
                    try check(flock(outcome.isOver ? one : other, LOCK_UN))
                    try #require(eventually(.seconds(20)) { outcome.isOver && later.isOver })
                    #expect(outcome.failure == nil && later.failure == nil)
                }
            }
        }
    }

    @Test("as does one of two that ask again and again instead of waiting", arguments: [false, true])
    func upgradesWithoutWaiting(isOnOneMount: Bool) throws {
        try onTwoMounts { first, second in
            try withOpen(first("file")) { one in
                try withOpen((isOnOneMount ? first : second)("file")) { other in
                    try check(flock(one, LOCK_SH))
                    try check(flock(other, LOCK_SH))
                    // Refused, it has none at all.
                    #expect(flock(one, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
                    try check(flock(other, LOCK_EX | LOCK_NB))
                    #expect(flock(one, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK)
                    try check(flock(other, LOCK_UN))
                    try check(flock(one, LOCK_EX | LOCK_NB))
                }
            }
        }
    }

    @Test("fcntl locks are of ranges, can be asked for, and go with any close")
    func ranges() throws {
        try onTwoMounts { first, second in
            try withOpen(second("file")) { other in
                try withOpen(first("file")) { one in
                    #expect(lock(one, F_WRLCK, 0, 10) == nil)
                    #expect(lock(one, F_RDLCK, 20, 10) == nil)
                    #expect(lock(other, F_RDLCK, 5, 1) == .resourceTemporarilyUnavailable)
                    #expect(lock(other, F_WRLCK, 10, 10) == nil)
                    #expect(lock(other, F_RDLCK, 20, 100) == nil)
                    #expect(lock(other, F_WRLCK, 29, 1) == .resourceTemporarilyUnavailable)
                    var asked = region(F_RDLCK, 5, 1)
                    try check(fcntl(other, F_GETLK, &asked))
                    #expect(asked.l_type == F_WRLCK && asked.l_start == 0 && asked.l_len == 10)
                    // The middle of it.
                    #expect(lock(one, F_UNLCK, 4, 3) == nil)
                    #expect(lock(other, F_WRLCK, 4, 3) == nil)
                    #expect(lock(other, F_WRLCK, 7, 1) == .resourceTemporarilyUnavailable)
                }
                #expect(lock(other, F_WRLCK, 0, 30) == nil)
            }
        }
    }

    @Test("who waits gets it when it is free; two that wait for each other are told")
    func waiting() throws {
        try onTwoMounts { first, second in
            try withOpen(first("file")) { one in
                try withOpen(second("file")) { other in
                    for round in 0..<20 {
                        let (holder, waiter) = round % 2 == 0 ? (one, other) : (other, one)
                        #expect(lock(holder, F_WRLCK) == nil)
                        let outcome = Outcome()
                        onThread { outcome.end(lock(waiter, F_WRLCK, waits: true)) }
                        usleep(20_000)
                        #expect(!outcome.isOver)
                        #expect(lock(holder, F_UNLCK) == nil)
                        try #require(eventually(.seconds(10)) { outcome.isOver }, "round \(round)")
                        #expect(outcome.failure == nil)
                        #expect(lock(waiter, F_UNLCK) == nil)
                    }
                    #expect(lock(one, F_WRLCK, 0, 1) == nil)
                    #expect(lock(other, F_WRLCK, 1, 1) == nil)
                    let outcome = Outcome()
                    onThread { outcome.end(lock(one, F_WRLCK, 1, 1, waits: true)) }
                    usleep(300_000)
                    #expect(lock(other, F_WRLCK, 0, 1, waits: true) == .deadlock)
                    #expect(lock(other, F_UNLCK, 1, 1) == nil)
                    try #require(eventually(.seconds(10)) { outcome.isOver })
                    #expect(outcome.failure == nil)
                }
            }
        }
    }

    @Test("under a lock everybody reads what was written under it before, without opening the file again")
    func counter() throws {
        try onTwoMounts { first, second in
            try writeFile(first("counter"), [0, 0], sync: true)
            let outcomes = [first, second].map { host in
                let outcome = Outcome()
                let path = host("counter")
                onThread {
                    outcome.end(
                        failure {
                            try withOpen(path) { file in
                                for _ in 0..<150 {
                                    try check(flock(file, LOCK_EX))
                                    var bytes = try read(file, at: 0, upTo: 2)
                                    bytes[0] &+= 1
                                    if bytes[0] == 0 { bytes[1] += 1 }
                                    try writeAll(file, bytes[...], at: 0)
                                    try check(flock(file, LOCK_UN))
                                }
                            }
                        })
                }
                return outcome
            }
            try #require(eventually(.seconds(60)) { outcomes.allSatisfy(\.isOver) })
            for outcome in outcomes { #expect(outcome.failure == nil) }
            let bytes = try contents(first("counter"))
            #expect(Int(bytes[0]) + Int(bytes[1]) << 8 == 300)
        }
    }

    @Test("sqlite writers on both add up, and the database stays whole")
    func sqlite() throws {
        try onTwoMounts(limit: .seconds(180)) { first, second in
            try first.tool("sqlite3", first("database"), "create table t (host, n)")
            let writers = try [first, second].enumerated().map { number, host in
                let statements = (0..<60).map { ".timeout 60000\ninsert into t values (\(number), \($0));" }
                try writeFile(host.local("statements"), Array(statements.joined(separator: "\n").utf8))
                return try host.commands.start(
                    ["sqlite3", "-bail", host("database")], log: "sqlite", input: host.local("statements"))
            }
            for writer in writers {
                try #require(writer.wait(.seconds(120)) == 0, "\(readText(writer.errors))")
            }
            for host in [first, second] {
                let answer = try host.tool(
                    "sqlite3", host("database"), "select count(*), count(distinct host * 1000 + n) from t; pragma integrity_check")
                #expect(answer.split(separator: "\n") == ["120|120", "ok"])
            }
        }
    }

    @Test("the locks of a mount that was killed are released", arguments: [false, true])
    func killed(hasLease: Bool) throws {
        try onTwoMounts { first, second in
            try withOpen(second("file")) { other in
                let one = open(first("file"), O_RDWR | O_CREAT, 0o644)
                try check(one)
                #expect(lock(one, F_WRLCK) == nil)
                // Then it is the other that has the lease.
                if !hasLease { #expect(lock(other, F_WRLCK) == .resourceTemporarilyUnavailable) }
                try first.killMount()
                close(one)
                let since = ContinuousClock.now
                let outcome = Outcome()
                onThread { outcome.end(lock(other, F_WRLCK, waits: true)) }
                try #require(eventually(.seconds(60)) { outcome.isOver })
                #expect(outcome.failure == nil)
                print("locks of a killed mount, which had \(hasLease ? "the" : "no") lease, were released after \(ContinuousClock.now - since)")
                #expect(lock(other, F_UNLCK) == nil)
            }
        }
    }

    @Test("a mount that stood still for long has lost its locks, and whoever counted on them is told")
    func stalled() throws {
        try onTwoMounts(limit: .seconds(180)) { first, second in
            try withOpen(second("file")) { other in
                try withOpen(first("file")) { one in
                    #expect(lock(one, F_WRLCK) == nil)
                    let process = try #require(first.mount?.process)
                    try check(kill(process, SIGSTOP))
                    do {
                        defer { kill(process, SIGCONT) }
                        let since = ContinuousClock.now
                        let outcome = Outcome()
                        onThread { outcome.end(lock(other, F_WRLCK, waits: true)) }
                        try #require(eventually(.seconds(60)) { outcome.isOver })
                        #expect(outcome.failure == nil)
                        print("locks of a stopped mount were released after \(ContinuousClock.now - since)")
                        try writeAll(other, [1], at: 0)
                    }
                    #expect(failure { try writeAll(one, [2], at: 0) } == .staleNFSFileHandle)
                    #expect(try contents(second("file")) == [1])
                    #expect(lock(other, F_UNLCK) == nil)
                }
                // And it goes on.
                try withOpen(first("file")) { one in #expect(lock(one, F_WRLCK) == nil) }
            }
        }
    }
}

/// What became of a call on another thread.
private final class Outcome: Sendable {
    private let state = Mutex<(isOver: Bool, failure: Errno?)>((false, nil))

    func end(_ failure: Errno?) { state.withLock { $0 = (true, failure) } }
    var isOver: Bool { state.withLock { $0.isOver } }
    var failure: Errno? { state.withLock { $0.failure } }
}
