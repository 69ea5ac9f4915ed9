import CFuse
import Glibc
import SystemPackage
import Testing

@testable import LanfsMount
@testable import MountFixture

@Suite("The life of a mount", .serialized, .enabled(if: Fuse.isAvailable))
struct LifecycleTests {
    private static func refusal(_ path: String) async -> MountError? {
        do {
            let session = try await onThread {
                try MountSession.mount(
                    MemoryFileSystem(), on: path, options: MountOptions(volumeName: "test"))
            }
            session.unmount()
            await session.waitUntilUnmounted()
            return nil
        } catch {
            return error as? MountError
        }
    }

    @Test("a folder that cannot be mounted on is refused in plain words")
    func refusals() async throws {
        let folder = try makeFolder()
        defer { rmdir(folder) }
        #expect(await Self.refusal(folder + "/none") == .mountPointMissing(folder + "/none"))
        try writeFile(folder + "/file", [1])
        defer { unlink(folder + "/file") }
        #expect(await Self.refusal(folder + "/file") == .mountPointNotDirectory(folder + "/file"))
        #expect(await Self.refusal(folder) == .mountPointNotEmpty(folder))
        #expect(MountError.mountPointMissing("/a").description.contains("mkdir -p '/a'"))
    }

    @Test("a folder is mounted on once, and over its contents only when told so")
    func twice() async throws {
        let m = try await Mounted()
        #expect(await Self.refusal(m.folder) == .alreadyMounted(m.folder))
        try await m.finish()
        let folder = try makeFolder()
        try writeFile(folder + "/file", [1])
        let session = try await onThread {
            var options = MountOptions(volumeName: "test")
            try options.apply("nonempty")
            return try MountSession.mount(MemoryFileSystem(), on: folder, options: options)
        }
        let seen = try await onThread { try names(in: folder) }
        #expect(seen.isEmpty)
        session.unmount()
        await session.waitUntilUnmounted()
        #expect(try contents(folder + "/file") == [1])
        unlink(folder + "/file")
        rmdir(folder)
    }

    @Test("a path with symbolic links, dots and blanks leads to the folder itself")
    func paths() async throws {
        let folder = try makeFolder()
        try check(mkdir(folder + "/a folder\\with\ttricks", 0o755))
        try check(symlink("a folder\\with\ttricks", folder + "/link"))
        let session = try await onThread {
            try MountSession.mount(
                MemoryFileSystem(), on: folder + "/./link/", options: MountOptions(volumeName: "a,b"))
        }
        #expect(session.path == folder + "/a folder\\with\ttricks")
        #expect(MountTable.top(at: session.path)?.source == "lanfs:a-b")
        session.unmount()
        #expect(await session.waitUntilUnmounted() == .requested)
        #expect(MountTable.top(at: session.path) == nil)
        rmdir(session.path)
        unlink(folder + "/link")
        rmdir(folder)
    }

    @Test("what a killed process left behind is cleared by the next mount")
    func stale() async throws {
        let folder = try makeFolder()
        let first = try Child([fixturePath, "-f", folder])
        #expect(try await eventually { MountTable.top(at: folder) != nil && access(folder + "/.", F_OK) == 0 })
        kill(first.process, SIGKILL)
        #expect(try first.wait() == 128 + SIGKILL)
        let error = try await onThread { failure { _ = try names(in: folder) } }
        #expect(error == .socketNotConnected)
        #expect(await Self.refusal(folder) == nil)
        #expect(rmdir(folder) == 0)
    }

    @Test("unmounting ends requests that wait, at once", arguments: ["stuck-read", "deaf-read", "stuck-close"])
    func waiting(_ name: String) async throws {
        let m = try await Mounted()
        let reader = try await onThread {
            if name != "stuck-close" { try writeFile(m(name), [1]) }
            return try Child(name == "stuck-close" ? ["sh", "-c", "echo 1 > '\(m(name))'"] : ["cat", m(name)])
        }
        #expect(try await eventually { m.session.pendingRequests == 1 })
        let start = MonotonicTime.now
        m.session.unmount()
        #expect(await m.session.waitUntilUnmounted() == .requested)
        #expect(MonotonicTime.now < start.adding(.seconds(2)))
        let status = try await onThread { try reader.wait(upTo: .seconds(2)) }
        #expect(status != nil)
        #expect(name == "stuck-close" || status == 1)
        m.files.openGate()
        rmdir(m.folder)
    }

    @Test("umount from outside ends the mount, and the owner hears of it before it counts as ended")
    func external() async throws {
        let told = ConditionLock<[MountEnd]>([])
        let m = try await Mounted(onUnmount: { end in
            try? await Task.sleep(for: .milliseconds(100))
            told.change { $0.append(end) }
        })
        let status = try await onThread {
            try writeFile(m("f"), [1])
            return try Child.run(["fusermount3", "-u", m.folder]).status
        }
        #expect(status == 0)
        #expect(await m.session.waitUntilUnmounted() == .external)
        #expect(told.withLock { $0 } == [.external])
        rmdir(m.folder)
    }

    @Test("a busy mount stays when unmounted from outside, and after a lazy unmount ends with its last user")
    func busy() async throws {
        let m = try await Mounted()
        try await onThread {
            try writeFile(m("f"), [1, 2])
            try withFile(m("f"), O_RDWR) { file in
                #expect(try Child.run(["fusermount3", "-u", m.folder]).status != 0)
                #expect(try contents(m("f")) == [1, 2])
                #expect(try Child.run(["umount", "-l", m.folder]).status == 0)
                #expect(MountTable.top(at: m.folder) == nil)
                try check(pwrite(file, [3] as [UInt8], 1, 2))
                try check(fsync(file))
                #expect(try readAll(file) == [1, 2, 3])
            }
        }
        #expect(await m.session.waitUntilUnmounted() == .external)
        rmdir(m.folder)
    }

    @Test("a file still open when the mount is ended is cut off")
    func cutOff() async throws {
        let m = try await Mounted()
        let file = try await onThread {
            try writeFile(m("f"), [1, 2])
            return try check(open(m("f"), O_RDWR | directFlag))
        }
        m.session.unmount()
        #expect(await m.session.waitUntilUnmounted() == .requested)
        let error = try await onThread { failure { try check(fsync(file)) } }
        #expect(error != nil)
        close(file)
        rmdir(m.folder)
    }

    @Test("a connection that somebody aborts leaves no dead mount", .enabled(if: Fuse.isRoot))
    func aborted() async throws {
        let m = try await Mounted()
        let file = try await onThread { try check(open(m.path, O_RDONLY | O_DIRECTORY)) }
        // umount -f of a folder in use: the connection is cut, the mount stays.
        let error = try await onThread { failure { try check(umount2(m.path, Int32(MNT_FORCE))) } }
        #expect(error == .resourceBusy)
        #expect(await m.session.waitUntilUnmounted() == .external)
        #expect(MountTable.top(at: m.path) == nil)
        close(file)
        rmdir(m.folder)
    }

    @Test("a volume that answers is waited for", arguments: Answers.allCases)
    func answering(_ answers: Answers) async throws {
        let m = try await Mounted(answers)
        try await m.session.waitUntilAnswering()
        try await m.finish()
    }

    @Test("a new mount on the same folder survives the end of the one before")
    func remounting() async throws {
        let folder = try makeFolder()
        var before: MountSession?
        for _ in 0..<20 {
            // The kernel gives the new mount the device number that just became free.
            let session = try await onThread {
                let session = try MountSession.mount(
                    MemoryFileSystem(), on: folder, options: MountOptions(volumeName: "test"))
                return session
            }
            if let before {
                #expect(await before.waitUntilUnmounted() == .external)
                // However late the old one looks.
                before.mount.detachIfDead()
            }
            try await onThread {
                try writeFile(folder + "/f", [1])
                try check(umount2(folder, 0))
            }
            before = session
        }
        await before?.waitUntilUnmounted()
        rmdir(folder)
    }
}
