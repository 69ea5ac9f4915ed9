import LanfsMount
import Testing

@testable import lanfs

@Suite("Exit status")
struct ExitCodeTests {
    @Test("the numbers that scripts rely on never change")
    func numbers() {
        #expect(ExitCode.allCases.map(\.rawValue) == Array(0...8))
        #expect(ExitCode.usage.rawValue == 2 && ExitCode.noServer.rawValue == 3 && ExitCode.notFound.rawValue == 4)
        #expect(ExitCode.alreadyExists.rawValue == 5 && ExitCode.keyUnusable.rawValue == 6)
        #expect(ExitCode.serverRefused.rawValue == 7 && ExitCode.noSpace.rawValue == 8)
    }

    @Test("a command line that is not understood ends with 2, and with 1 for mount(8)")
    func usage() async {
        let readiness = Daemon.start(foreground: true)
        #expect(await Lanfs.run(["lanfs", "putt"], readiness) == 2)
        #expect(await Lanfs.run(["lanfs", "put"], readiness) == 2)
        #expect(await Lanfs.run(["lanfs"], readiness) == 2)
        #expect(await Lanfs.run(["/sbin/mount.lanfs", "none"], readiness) == 1)
        #expect(await Lanfs.run(["mount.lanfs", "none", "/mnt", "-f", "-o", "ro"], readiness) == 0)
        #expect(await Lanfs.run(["lanfs", "--version"], readiness) == 0)
    }

    @Test("output that cannot be written is an error with a status of its own")
    func output() throws {
        var full = StandardOutput(descriptor: try openForWriting("/dev/full"))
        try full.write("text")
        let failure = CommandError(.noSpace, "standard output: no space left on device")
        #expect(throws: failure) { try full.flush() }
    }
}
