import Glibc
import SystemPackage
import Testing

/// What POSIX and Linux's manual say of a file system, call by call. Behaviour that may differ between file systems is left out.
@Suite("POSIX", .serialized, .enabled(if: Ground.isThere), Ground())
enum Posix {}

/// Where the suite runs: one mounted volume for all of it, or the folder that `LANFS_POSIX_FOLDER` names. On ext4 everything
/// passes, which shows that the suite asks for what an ordinary file system does. Other users must be able to reach the folder.
struct Ground: SuiteTrait, TestScoping {
    @TaskLocal static var path = ""

    static let folder = getenv("LANFS_POSIX_FOLDER").map { String(cString: $0) }

    static let isThere: Bool = {
        guard geteuid() == 0 else {
            print("POSIX behaviour is not tested: only root can act as others")
            return false
        }
        return folder != nil || Machine.canMount
    }()

    /// Once for the suite, as it is not recursive.
    func provideScope(
        for test: Test, testCase: Test.Case?, performing body: @Sendable () async throws -> Void
    ) async throws {
        let host = try Host(limit: .seconds(240))
        defer { host.cleanUp() }
        if let folder = Self.folder {
            let path = folder + "/posix-\(getpid())"
            try check(mkdir(path, 0o755))
            defer { _ = try? host.run(["rm", "-rf", path]) }
            try await Self.$path.withValue(path, operation: body)
        } else {
            try host.makeKey()
            try host.startServer()
            try host.startMount(["-o", "allow_other,dev,suid"])
            // Others go through it to the mount.
            try check(chmod(host.folder, 0o711))
            try check(chmod(host.mountPoint, 0o755))
            try await Self.$path.withValue(host.mountPoint, operation: body)
        }
    }
}

/// A new folder of the ground, for one test or one row of its table. Everybody may make files in it.
struct Folder {
    let path: String

    init() throws {
        var template = Array((Ground.path + "/XXXXXX").utf8CString)
        guard mkdtemp(&template) != nil else { throw Errno(rawValue: errno) }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        try check(chmod(path, 0o777))
    }

    func callAsFunction(_ name: String) -> String { path + "/" + name }
}
