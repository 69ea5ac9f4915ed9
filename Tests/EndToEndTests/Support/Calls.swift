import Glibc
import SystemPackage
import Testing

// System calls as throwing functions.

/// Makes a call, again after EINTR: when somebody stops this process and lets it go on, the kernel takes back requests
/// to a mount that were not read yet. Nothing was done then.
@discardableResult
func check<Value: SignedInteger>(_ call: @autoclosure () -> Value) throws(Errno) -> Value {
    while true {
        let value = call()
        if value >= 0 { return value }
        if errno != EINTR { throw Errno(rawValue: errno) }
    }
}

/// The error of a call that has to fail; nil when it succeeds.
func failure(_ body: () throws -> Void) -> Errno? {
    do {
        try body()
        return nil
    } catch {
        return error as? Errno
    }
}

@discardableResult
func withFile<Value>(
    _ path: String, _ flags: Int32, _ mode: mode_t = 0o644, _ body: (Int32) throws -> Value
) throws -> Value {
    let file = try check(open(path, flags | O_CLOEXEC, mode))
    defer { close(file) }
    return try body(file)
}

/// All of `bytes` at `offset`, or where the file stands when it is nil.
func writeAll(_ file: Int32, _ bytes: ArraySlice<UInt8>, at offset: Int? = nil) throws {
    var done = 0
    while done < bytes.count {
        done += try bytes.withUnsafeBytes { all in
            let rest = UnsafeRawBufferPointer(rebasing: all[done...])
            return try check(
                offset.map { pwrite(file, rest.baseAddress, rest.count, off_t($0 + done)) }
                    ?? write(file, rest.baseAddress, rest.count))
        }
    }
}

func writeFile(_ path: String, _ bytes: [UInt8], sync: Bool = false) throws {
    try withFile(path, O_WRONLY | O_CREAT | O_TRUNC) { file in
        try writeAll(file, bytes[...])
        if sync { try check(fsync(file)) }
    }
}

func contents(_ path: String) throws -> [UInt8] {
    try withFile(path, O_RDONLY) { file in
        var status = stat()
        try check(fstat(file, &status))
        return try read(file, at: 0, upTo: max(65_536, Int(status.st_size) + 1))
    }
}

/// Up to `count` bytes from `offset` on, fewer at the end of the file only.
func read(_ file: Int32, at offset: Int, upTo count: Int) throws -> [UInt8] {
    try [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
        while filled < count {
            let rest = UnsafeMutableRawBufferPointer(rebasing: UnsafeMutableRawBufferPointer(buffer)[filled...])
            let got = try check(pread(file, rest.baseAddress, rest.count, off_t(offset + filled)))
            if got == 0 { return }
            filled += got
        }
    }
}

/// The text of a small file, empty when there is none; also for files of /proc, which tell no size.
func readText(_ path: String) -> String {
    let file = open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { return "" }
    defer { close(file) }
    var all: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while true {
        let count = Glibc.read(file, &buffer, buffer.count)
        if count <= 0 { return String(decoding: all, as: UTF8.self) }
        all += buffer[..<count]
    }
}

func status(_ path: String) throws -> stat {
    var status = stat()
    try check(lstat(path, &status))
    return status
}

func exists(_ path: String) -> Bool { (try? status(path)) != nil }

func linkTarget(_ path: String) throws -> String {
    var buffer = [CChar](repeating: 0, count: 4096)
    let count = try check(readlink(path, &buffer, buffer.count))
    return String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
}

/// Sets the time of modification, and that of the last access with it.
func setTime(_ path: String, _ seconds: Int, _ nanoseconds: Int) throws {
    let time = timespec(tv_sec: seconds, tv_nsec: nanoseconds)
    try check(utimensat(AT_FDCWD, path, [time, time], AT_SYMLINK_NOFOLLOW))
}

/// The names in a folder, sorted byte by byte.
func names(in path: String) throws -> [[UInt8]] {
    let file = try check(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC))
    guard let directory = fdopendir(file) else { throw Errno(rawValue: errno) }
    defer { closedir(directory) }
    var found: [[UInt8]] = []
    errno = 0
    while let entry = readdir(directory) {
        let name = withUnsafeBytes(of: &entry.pointee.d_name) { Array($0.prefix { $0 != 0 }) }
        if name != [46], name != [46, 46] { found.append(name) }
        errno = 0
    }
    if errno == EINTR { return try names(in: path) }
    if errno != 0 { throw Errno(rawValue: errno) }
    return found.sorted { $0.lexicographicallyPrecedes($1) }
}

/// Every path below `folder`, relative to it, folders before what is in them.
func paths(below folder: String, _ prefix: String = "") throws -> [String] {
    var all: [String] = []
    for name in try names(in: folder) {
        let path = prefix + String(decoding: name, as: UTF8.self)
        all.append(path)
        let full = folder + "/" + String(decoding: name, as: UTF8.self)
        if try status(full).st_mode & S_IFMT == S_IFDIR { all += try paths(below: full, path + "/") }
    }
    return all
}

// Calls that glibc has but Swift's Glibc module does not declare.

private func symbol<Function>(_ name: String, as type: Function.Type) throws(Errno) -> Function {
    guard let address = dlsym(nil, name) else { throw .noFunction }
    return unsafeBitCast(address, to: type)
}

private typealias Allocate = @convention(c) (Int32, Int32, Int, Int) -> Int32

func punchHole(_ file: Int32, _ offset: Int, _ length: Int) throws {
    let keepSizeAndPunch: Int32 = 1 | 2
    try fallocate(file, keepSizeAndPunch, offset, length)
}

func fallocate(_ file: Int32, _ mode: Int32, _ offset: Int, _ length: Int) throws {
    let allocate = try symbol("fallocate", as: Allocate.self)
    try check(allocate(file, mode, offset, length))
}

private typealias RenameFlagged = @convention(c) (
    Int32, UnsafePointer<CChar>, Int32, UnsafePointer<CChar>, UInt32
) -> Int32

/// renameat2(2) with RENAME_EXCHANGE.
func exchange(_ one: String, _ other: String) throws {
    let rename = try symbol("renameat2", as: RenameFlagged.self)
    try check(rename(AT_FDCWD, one, AT_FDCWD, other, 2))
}

private typealias CopyRange = @convention(c) (
    Int32, UnsafeMutablePointer<Int>?, Int32, UnsafeMutablePointer<Int>?, Int, UInt32
) -> Int

func copyRange(from source: Int32, at start: Int = 0, to target: Int32, at place: Int = 0, _ count: Int) throws {
    let copy = try symbol("copy_file_range", as: CopyRange.self)
    var (from, to) = (start, place)
    #expect(try check(copy(source, &from, target, &to, count, 0)) == count)
}

private typealias SystemCall = @convention(c) (Int, Int, Int, Int) -> Int

/// syscall(2), for those that the library has another idea of.
func systemCall(_ number: Int, _ first: Int, _ second: Int, _ third: Int) throws(Errno) {
    let call = try symbol("syscall", as: SystemCall.self)
    try check(call(number, first, second, third))
}

private typealias Rename = @convention(c) (Int32, UnsafePointer<CChar>, Int32, UnsafePointer<CChar>, UInt32) -> Int32

enum RenameFlag {
    static let noReplace: UInt32 = 1
    static let exchange: UInt32 = 2
}

func rename(_ old: String, _ new: String, flags: UInt32) -> Int32 {
    guard let rename = try? symbol("renameat2", as: Rename.self) else {
        errno = ENOSYS
        return -1
    }
    return rename(AT_FDCWD, old, AT_FDCWD, new, flags)
}

private typealias SetUser = @convention(c) (UInt32) -> Int32

/// Runs `body` as this user, and without root's rights, as far as file systems are concerned; on this thread alone.
func asUser(_ user: UInt32, _ body: () throws -> Void) throws {
    let setUser = try symbol("setfsuid", as: SetUser.self)
    _ = setUser(user)
    defer { _ = setUser(0) }
    try body()
}

/// Where data or a hole begins from `offset` on; the constants are those of lseek(2).
func seekData(_ file: Int32, _ offset: Int) throws -> Int { try check(Int(lseek(file, off_t(offset), 3))) }
func seekHole(_ file: Int32, _ offset: Int) throws -> Int { try check(Int(lseek(file, off_t(offset), 4))) }

private typealias SetAttribute =
    @convention(c) (UnsafePointer<CChar>, UnsafePointer<CChar>, UnsafeRawPointer?, Int, Int32) -> Int32
private typealias GetAttribute =
    @convention(c) (UnsafePointer<CChar>, UnsafePointer<CChar>, UnsafeMutableRawPointer?, Int) -> Int

func setAttribute(_ path: String, _ name: String, _ value: [UInt8]) throws {
    let set = try symbol("lsetxattr", as: SetAttribute.self)
    try check(set(path, name, value, value.count, 0))
}

func attribute(_ path: String, _ name: String) throws -> [UInt8] {
    var buffer = [UInt8](repeating: 0, count: 65_536)
    let get = try symbol("lgetxattr", as: GetAttribute.self)
    let count = try check(get(path, name, &buffer, buffer.count))
    return Array(buffer[..<count])
}
