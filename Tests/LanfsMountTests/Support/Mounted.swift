import CFuse
import Glibc
import LanfsFileSystem
import SystemPackage
import Testing

@testable import LanfsMount
@testable import MountFixture

enum Fuse {
    /// Whether this machine and user can mount: else these tests are skipped, with the reason.
    static let isAvailable: Bool = {
        if access("/dev/fuse", R_OK | W_OK) != 0 {
            print("real mounts are not tested: /dev/fuse cannot be opened (\(Errno(rawValue: errno)))")
            return false
        }
        if geteuid() != 0, access("/usr/bin/fusermount3", X_OK) != 0 {
            print("real mounts are not tested: neither root nor fusermount3")
            return false
        }
        return true
    }()

    static let isRoot = geteuid() == 0
}

/// Answered from memory at once, or each from a task.
enum Answers: String, CaseIterable, CustomTestStringConvertible {
    case atOnce, later

    var testDescription: String { rawValue }
}

/// A file system in memory, really mounted in a folder of its own.
struct Mounted: Sendable {
    let files: MemoryFileSystem
    let session: MountSession
    let folder: String
    var path: String { session.path }

    init(
        _ answers: Answers = .atOnce, cache: CachePolicy = .solo, _ adjust: (inout MountOptions) -> Void = { _ in },
        onUnmount: @escaping @Sendable (MountEnd) async -> Void = { _ in }
    ) async throws {
        var options = MountOptions(volumeName: "test", cache: cache)
        adjust(&options)
        let final = options
        let folder = try makeFolder()
        let files = MemoryFileSystem(delayed: answers == .later)
        self.folder = folder
        self.files = files
        session = try await onThread {
            try MountSession.mount(files, on: folder, options: final, onUnmount: onUnmount)
        }
    }

    func callAsFunction(_ name: String) -> String { path + "/" + name }

    /// Makes the kernel forget all it knows, sees that it gave back all it held, and unmounts.
    func finish(_ location: SourceLocation = #_sourceLocation) async throws {
        try await onThread {
            for entry in files.allEntries {
                let body = fuse_notify_inval_entry_out(parent: entry.parent, namelen: UInt32(entry.name.count), flags: 0)
                session.notify(FUSE_NOTIFY_INVAL_ENTRY.rawValue, body, name: entry.name)
            }
        }
        let forgotten = try await eventually { files.lookups == 0 && files.openFiles == 0 }
        #expect(forgotten, "lookups left: \(files.lookups), open: \(files.openFiles)", sourceLocation: location)
        session.unmount()
        let end = await session.waitUntilUnmounted()
        #expect(end == .requested, sourceLocation: location)
        rmdir(folder)
    }
}

func makeFolder() throws -> String {
    var template = Array("/tmp/lanfs-mount-test-XXXXXX".utf8CString)
    guard let path = mkdtemp(&template) else { throw Errno(rawValue: errno) }
    return String(cString: path)
}

/// Mounts, runs the system calls of `body` on a thread of their own, and finishes.
func mounted(
    _ answers: Answers = .atOnce, cache: CachePolicy = .solo, location: SourceLocation = #_sourceLocation,
    _ body: @escaping @Sendable (Mounted) throws -> Void
) async throws {
    let mounted = try await Mounted(answers, cache: cache)
    do {
        try await onThread { try body(mounted) }
    } catch {
        mounted.session.unmount()
        await mounted.session.waitUntilUnmounted()
        throw error
    }
    try await mounted.finish(location)
}
