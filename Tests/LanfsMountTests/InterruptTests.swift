import Glibc
import SystemPackage
import Testing

@testable import LanfsMount

@Suite("Waiting requests and signals", .serialized, .enabled(if: Fuse.isAvailable))
struct InterruptTests {
    @Test("a read of a folder ignores signals at first, then ends with EINTR")
    func patience() async throws {
        let m = try await Mounted { $0.interruptAfter = .milliseconds(400) }
        try await onThread {
            try check(mkdir(m("stuck-folder"), 0o755))
            try withFile(m("stuck-folder"), O_RDONLY | O_DIRECTORY) { file in
                let outcome = ConditionLock<Errno??>(nil)
                let reader = try PlainThread(name: "test") {
                    let error = failure { _ = try rawNames(file, buffer: 4096) }
                    outcome.change { $0 = .some(error) }
                }
                defer {
                    m.files.openGate()
                    reader.join()
                }
                #expect(!reader.hasFinished(within: .milliseconds(100)))
                reader.wake()
                #expect(!reader.hasFinished(within: .milliseconds(200)))
                #expect(outcome.wait(upTo: .seconds(3)) { $0 } == .some(.interrupted))
            }
        }
        try await m.finish()
    }

    @Test("a read without signals waits as long as it takes")
    func noSignal() async throws {
        let m = try await Mounted { $0.interruptAfter = .milliseconds(50) }
        try await onThread {
            try writeFile(m("stuck-read"), [42])
            try withFile(m("stuck-read"), O_RDONLY) { file in
                let reader = try PlainThread(name: "test") {
                    var byte: UInt8 = 0
                    #expect(read(file, &byte, 1) == 1 && byte == 42)
                }
                #expect(!reader.hasFinished(within: .milliseconds(300)))
                m.files.openGate()
                #expect(reader.hasFinished(within: .seconds(3)))
                reader.join()
            }
        }
        try await m.finish()
    }

    @Test(
        "a process that waits dies soon when it is killed, through the page cache and without",
        arguments: ["stuck-read", "deaf-read"], [("cat", SIGKILL), ("dd", SIGKILL), ("dd", SIGTERM), ("cat", SIGINT)])
    func killedReader(_ name: String, _ how: (program: String, signal: Int32)) async throws {
        let signal = how.signal
        try await mounted { m in
            try writeFile(m(name), [1])
            let reader = try Child(how.program == "cat" ? ["cat", m(name)] : ["dd", "iflag=direct", "if=\(m(name))"])
            try #require(try reader.wait(upTo: .milliseconds(200)) == nil)
            kill(reader.process, signal)
            #expect(try reader.wait(upTo: .seconds(4)) == 128 + signal)
            // The answer that comes too late harms nobody.
            m.files.openGate()
            #expect(try contents(m(name)) == [1])
        }
    }

    @Test("a file that is opened too late for a process that is gone is closed again")
    func lateOpen() async throws {
        let m = try await Mounted()
        try await onThread {
            m.files.makeBehindTheKernel("deaf-open")
            let reader = try Child(["cat", m("deaf-open")])
            try #require(try reader.wait(upTo: .milliseconds(200)) == nil)
            kill(reader.process, SIGKILL)
            #expect(try reader.wait(upTo: .seconds(2)) == 128 + SIGKILL)
        }
        m.files.openGate()
        try await Task.sleep(for: .milliseconds(100))
        try await m.finish()
    }

    @Test("a process that waits to write dies at once when it is killed")
    func killedWriter() async throws {
        try await mounted { m in
            let writer = try Child(["sh", "-c", "echo text > '\(m("stuck-write"))'"])
            try #require(try writer.wait(upTo: .milliseconds(200)) == nil)
            kill(writer.process, SIGKILL)
            #expect(try writer.wait(upTo: .seconds(2)) == 128 + SIGKILL)
            m.files.openGate()
        }
    }

    @Test("close waits for its answer, but not for a process that was killed")
    func closing() async throws {
        try await mounted { m in
            let file = try check(open(m("stuck-close"), O_WRONLY | O_CREAT, 0o644))
            let closer = try PlainThread(name: "test") { #expect(close(file) == 0) }
            #expect(!closer.hasFinished(within: .milliseconds(200)))
            // Killed while it has the file open: the kernel closes it in the name of a process that is past signals.
            m.files.makeBehindTheKernel("stuck-close-2")
            let killed = try Child(["tail", "-f", m("stuck-close-2")])
            try #require(try killed.wait(upTo: .milliseconds(200)) == nil)
            kill(killed.process, SIGKILL)
            #expect(try killed.wait(upTo: .seconds(5)) == 128 + SIGKILL)
            #expect(!closer.hasFinished(within: .milliseconds(100)))
            m.files.openGate()
            #expect(closer.hasFinished(within: .seconds(3)))
            closer.join()
        }
    }

    @Test("what /proc tells of a thread is understood")
    func callerStates() {
        func stat(flags: Int, exitCode: Int) -> [UInt8] {
            let rest = (10...51).map { "\($0)" }.joined(separator: " ")
            return Array("12 (odd) name)) S 1 2 3 4 5 \(flags) \(rest) \(exitCode)\n".utf8)
        }
        let quiet = Array("Name:\tx\nSigPnd:\t0000000000000000\nShdPnd:\t0000000000000000\n".utf8)
        let killed = Array("Name:\tx\nSigPnd:\t0000000000000100\n".utf8)
        let signalled = Array("Name:\tx\nSigPnd:\t0000000000000002\n".utf8)
        #expect(CallerState.state(status: quiet, stat: stat(flags: 0x40_0000, exitCode: 0)) == .alive)
        #expect(CallerState.state(status: signalled, stat: stat(flags: 0, exitCode: 0)) == .alive)
        #expect(CallerState.state(status: killed, stat: stat(flags: 0, exitCode: 0)) == .killed)
        #expect(CallerState.state(status: quiet, stat: stat(flags: 4, exitCode: 9)) == .killed)
        #expect(CallerState.state(status: quiet, stat: stat(flags: 4, exitCode: 256)) == .exiting)
        #expect(CallerState.state(status: [], stat: []) == .unknown)
        #expect(CallerState.of(0) == .unknown)
        #expect(CallerState.of(getpid()) == .alive)
    }
}
