import CFuse
import Glibc
import SystemPackage
import Testing

@testable import LanfsMount
@testable import MountFixture

@Suite("Mounting without root", .serialized, .enabled(if: Fuse.isAvailable && Fuse.isRoot))
struct OrdinaryUserTests {
    private static let nobody: UInt32 = 65534

    /// A thread in a mount namespace of its own, where everybody may open /dev/fuse as on an ordinary system.
    private static func asNobody<Value: Sendable>(
        openDevice: Bool, _ body: @escaping @Sendable (String) throws -> Value
    ) async throws -> Value {
        // Stays: removing it here, where nothing is mounted on it, would unmount it there.
        let folder = try makeFolder()
        return try await onThread {
            try unshareMounts()
            try check(lanfs_mount("none", "/", nil, UInt(MS_REC | MS_PRIVATE), nil))
            let device = try makeFolder()
            try check(lanfs_mount("none", device, "tmpfs", 0, "mode=755"))
            try check(mknod(device + "/fuse", S_IFCHR | 0o600, 10 << 8 | 229))
            try check(chmod(device + "/fuse", openDevice ? 0o666 : 0o600))
            try check(lanfs_mount(device + "/fuse", "/dev/fuse", nil, UInt(MS_BIND), nil))
            try check(chown(folder, nobody, nobody))
            try become(user: nobody, group: nobody)
            return try body(folder)
        }
    }

    @Test("fusermount3 mounts for an ordinary user, and unmounts again")
    func mounts() async throws {
        let files = MemoryFileSystem()
        let session = try await Self.asNobody(openDevice: true) { folder in
            let session = try MountSession.mount(files, on: folder, options: MountOptions(volumeName: "test"))
            let top = try #require(MountTable.top(at: folder))
            #expect(top.type == "fuse.lanfs" && top.source == "lanfs:test")
            try check(mkdir(folder + "/d", 0o755))
            // The root belongs to whoever made it: root here, and everybody may write.
            try writeFile(folder + "/d/f", [1, 2, 3])
            #expect(try contents(folder + "/d/f") == [1, 2, 3])
            #expect(try status(folder + "/d/f").st_uid == Self.nobody)
            return session
        }
        session.unmount()
        #expect(await session.waitUntilUnmounted() == .requested)
        rmdir(session.path)
    }

    @Test("fusermount3's refusals are passed on")
    func refused() async throws {
        let error = try await Self.asNobody(openDevice: true) { folder -> MountError? in
            var options = MountOptions(volumeName: "test")
            options.allowOther = true
            do throws(MountError) {
                let session = try MountSession.mount(MemoryFileSystem(), on: folder, options: options)
                session.unmount()
                return nil
            } catch {
                return error
            }
        }
        // Allowed where /etc/fuse.conf says so.
        guard let error else { return }
        guard case .helperRefused(let words) = error else {
            Issue.record("\(error)")
            return
        }
        #expect(words.contains("user_allow_other"))
    }

    @Test("a device that only root may open is named, with what to do")
    func closedDevice() async throws {
        let error = try await Self.asNobody(openDevice: false) { folder -> MountError? in
            do throws(MountError) {
                let session = try MountSession.mount(
                    MemoryFileSystem(), on: folder, options: MountOptions(volumeName: "test"))
                session.unmount()
                return nil
            } catch {
                return error
            }
        }
        #expect(error == .deviceUnavailable(.permissionDenied))
        #expect(error?.description.contains("sudo chmod a+rw /dev/fuse") == true)
    }
}
