import Glibc
import SystemPackage
import Testing

@testable import LanfsMount

@Suite("Locks in a mounted volume", .serialized, .enabled(if: Fuse.isAvailable))
struct LockTests {
    @Test("fcntl locks hold against other processes, by ranges", arguments: Answers.allCases)
    func ranges(_ answers: Answers) async throws {
        try await mounted(answers) { m in
            try writeFile(m("f"), [1])
            let holder = try Child([fixturePath, "lock", m("f")])
            #expect(try holder.readLine() == "locked")
            try withFile(m("f"), O_RDWR) { file in
                var lock = flock()
                lock.l_type = Int16(F_WRLCK)
                lock.l_start = 10
                lock.l_len = 5
                #expect(failure { try check(fcntl(file, F_SETLK, &lock)) } == .resourceTemporarilyUnavailable)
                try check(fcntl(file, F_GETLK, &lock))
                #expect(lock.l_type == Int16(F_WRLCK) && lock.l_start == 0 && lock.l_len == 0)
                #expect(lock.l_pid == holder.process)
                // The holder's end frees it, and whoever waits gets it.
                holder.endInput()
                lock = flock()
                lock.l_type = Int16(F_WRLCK)
                try check(fcntl(file, F_SETLKW, &lock))
                #expect(m.files.lockCount == 1)
                lock.l_type = Int16(F_UNLCK)
                lock.l_start = 4
                lock.l_len = 2
                try check(fcntl(file, F_SETLK, &lock))
                #expect(m.files.lockCount == 2)
            }
            #expect(m.files.lockCount == 0)
            #expect(try holder.wait() == 0)
        }
    }

    @Test("flock excludes, shares, and waits", arguments: Answers.allCases)
    func wholeFiles(_ answers: Answers) async throws {
        let m = try await Mounted(answers)
        try await onThread {
            try writeFile(m("f"), [1])
            try withFile(m("f"), O_RDWR) { first in
                try withFile(m("f"), O_RDWR) { second in
                    try check(flock(first, LOCK_SH))
                    try check(flock(second, LOCK_SH | LOCK_NB))
                    #expect(
                        failure { try check(flock(second, LOCK_EX | LOCK_NB)) } == .resourceTemporarilyUnavailable)
                    try check(flock(first, LOCK_UN))
                    try check(flock(second, LOCK_EX | LOCK_NB))
                    let waiter = try PlainThread(name: "test") { _ = flock(first, LOCK_EX) }
                    #expect(!waiter.hasFinished(within: .milliseconds(100)))
                    try check(flock(second, LOCK_UN))
                    #expect(waiter.hasFinished(within: .seconds(5)))
                    waiter.join()
                }
            }
        }
        let free = try await eventually { m.files.lockCount == 0 }
        #expect(free)
        try await m.finish()
    }

    @Test("a wait for a lock ends at the first signal")
    func interrupted() async throws {
        try await mounted { m in
            try writeFile(m("f"), [1])
            let holder = try Child([fixturePath, "lock", m("f")])
            #expect(try holder.readLine() == "locked")
            try withFile(m("f"), O_RDWR) { file in
                let outcome = ConditionLock<Int32?>(nil)
                let waiter = try PlainThread(name: "test") {
                    var lock = flock()
                    lock.l_type = Int16(F_WRLCK)
                    let status = fcntl(file, F_SETLKW, &lock) == 0 ? 0 : errno
                    outcome.change { $0 = status }
                }
                #expect(!waiter.hasFinished(within: .milliseconds(100)))
                waiter.wake()
                #expect(outcome.wait(upTo: .seconds(2)) { $0 } == EINTR)
                waiter.join()
            }
            holder.endInput()
            #expect(try holder.wait() == 0)
        }
    }

    @Test("a process that waits for a lock can be killed")
    func killed() async throws {
        try await mounted { m in
            try writeFile(m("f"), [1])
            try withFile(m("f"), O_RDWR) { file in
                try check(flock(file, LOCK_EX))
                let waiter = try Child(["flock", m("f"), "true"])
                try #require(try waiter.wait(upTo: .milliseconds(200)) == nil)
                kill(waiter.process, SIGKILL)
                #expect(try waiter.wait(upTo: .seconds(2)) == 128 + SIGKILL)
            }
        }
    }
}
