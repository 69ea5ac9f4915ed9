import Glibc
import SystemPackage
import Testing

@testable import LanfsMount

@Suite("Background and signals", .serialized, .enabled(if: Fuse.isAvailable))
struct DaemonTests {
    /// Processes that have `word` as an argument.
    private static func processes(with word: String) -> [pid_t] {
        guard let directory = opendir("/proc") else { return [] }
        defer { closedir(directory) }
        var found: [pid_t] = []
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            guard let process = pid_t(name), let line = readFile("/proc/\(process)/cmdline") else { continue }
            if line.split(separator: 0).contains(where: { $0.elementsEqual(word.utf8) }) { found.append(process) }
        }
        return found
    }

    @Test("the command returns when the mount answers, and SIGTERM ends what stays behind", arguments: [[], ["-d"]])
    func background(_ arguments: [String]) async throws {
        let folder = try makeFolder()
        try await onThread {
            let (status, output) = try Child.run([fixturePath] + arguments + [folder])
            #expect(status == 0 && output.isEmpty)
            try writeFile(folder + "/f", [1])
            #expect(try contents(folder + "/f") == [1])
        }
        let daemon = try #require(Self.processes(with: folder).first)
        // Its own session, no terminal, nothing of the starter's open, no folder kept busy.
        #expect(getsid(daemon) == daemon || getsid(daemon) != getsid(0))
        #expect(Self.link("/proc/\(daemon)/cwd") == "/")
        for descriptor in 0...2 { #expect(Self.link("/proc/\(daemon)/fd/\(descriptor)") == "/dev/null") }
        kill(daemon, SIGTERM)
        #expect(try await eventually { MountTable.top(at: folder) == nil && Self.processes(with: folder).isEmpty })
        rmdir(folder)
    }

    private static func link(_ path: String) -> String {
        var buffer = [CChar](repeating: 0, count: 4096)
        let count = max(0, readlink(path, &buffer, buffer.count - 1))
        return String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    @Test("a mount that fails says why on the terminal and in its status")
    func failure() async throws {
        let (status, output) = try await onThread { try Child.run([fixturePath, "/nowhere/at/all"]) }
        #expect(status == 1)
        #expect(output.hasPrefix("lanfs: cannot mount on /nowhere/at/all: there is no such folder"))
    }

    @Test("each termination signal unmounts", arguments: [SIGTERM, SIGINT, SIGHUP])
    func signals(_ number: Int32) async throws {
        let folder = try makeFolder()
        let child = try Child([fixturePath, "-f", folder])
        #expect(try await eventually { MountTable.top(at: folder) != nil && access(folder + "/.", F_OK) == 0 })
        try await Task.sleep(for: .milliseconds(100))
        kill(child.process, number)
        let status = try await onThread { try child.wait(upTo: .seconds(5)) }
        #expect(status == 0)
        #expect(MountTable.top(at: folder) == nil)
        rmdir(folder)
    }

    @Test("with auto_unmount a killed process leaves no dead mount")
    func autoUnmount() async throws {
        let folder = try makeFolder()
        let child = try Child([fixturePath, "-f", "-o", "auto_unmount", folder])
        #expect(try await eventually { MountTable.top(at: folder) != nil && access(folder + "/.", F_OK) == 0 })
        kill(child.process, SIGKILL)
        #expect(try child.wait() == 128 + SIGKILL)
        #expect(try await eventually { MountTable.top(at: folder) == nil })
        rmdir(folder)
    }
}
