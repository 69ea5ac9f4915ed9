import Glibc
import SystemPackage
import Testing

@testable import LanfsLocal

@Suite struct `Private files` {
    let folder: FilePath

    init() {
        var template = Array("/tmp/lanfs-local-XXXXXX".utf8CString)
        folder = FilePath(String(cString: mkdtemp(&template)))
    }

    @Test func `what is written comes back, for no one else to read`() throws {
        let path = folder.appending("deep/er/secret")
        try PrivateFile.write([1, 2, 3], to: path)
        #expect(try PrivateFile.read(path) == [1, 2, 3])
        var status = stat()
        #expect(stat(path.string, &status) == 0)
        #expect(status.st_mode & 0o777 == 0o600)
        #expect(stat(path.removingLastComponent().string, &status) == 0)
        #expect(status.st_mode & 0o777 == 0o700)
    }

    @Test func `a file that is not there is nil`() throws {
        let path = folder.appending("nothing")
        #expect(try PrivateFile.read(path) == nil)
        #expect(try !PrivateFile.isThere(path))
        try PrivateFile.write([1], to: path)
        #expect(try PrivateFile.isThere(path))
        #expect(throws: LocalFileError.self) { try PrivateFile.isThere(folder.appending(String(repeating: "x", count: 300))) }
    }

    @Test func `several may write the same file at the same time`() async throws {
        let path = folder.appending("shared")
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<50 { group.addTask { try PrivateFile.write([UInt8](repeating: UInt8(number), count: 1000), to: path) } }
            try await group.waitForAll()
        }
        let bytes = try #require(try PrivateFile.read(path))
        #expect(bytes.count == 1000 && Set(bytes).count == 1)
    }

    @Test func `a secret that others can read is refused with the remedy`() throws {
        let path = folder.appending("open")
        try PrivateFile.write([1], to: path)
        chmod(path.string, 0o644)
        #expect(throws: LocalFileError.readableByOthers(path, mode: 0o644)) { try PrivateFile.read(path) }
        #expect(try PrivateFile.read(path, secret: false) == [1])
    }

    @Test func `an existing file is kept when it must not be replaced`() throws {
        let path = folder.appending("key")
        try PrivateFile.write([1], to: path, replacing: false)
        #expect(throws: LocalFileError.exists(path)) { try PrivateFile.write([2], to: path, replacing: false) }
        #expect(try PrivateFile.read(path) == [1])
        try PrivateFile.write([2], to: path)
        #expect(try PrivateFile.read(path) == [2])
    }

    @Test func `a relative or empty XDG variable counts as not set`() {
        let values = ["XDG_CONFIG_HOME": "here", "XDG_DATA_HOME": "", "XDG_CACHE_HOME": "/c"]
        let directories = UserDirectories(environment: { values[$0] }, home: "/home/u", user: 7)
        #expect(directories.keys == "/home/u/.config/lanfs/keys")
        #expect(directories.server == "/home/u/.local/share/lanfs/server")
        #expect(directories.cache == "/c/lanfs")
        #expect(directories.runtime == "/tmp/lanfs-7/lanfs")
    }
}
