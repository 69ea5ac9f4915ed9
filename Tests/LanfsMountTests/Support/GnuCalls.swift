import Glibc
import SystemPackage

// Calls that glibc has but declares only for those who define _GNU_SOURCE.

private func symbol<Function>(_ name: String, as type: Function.Type) throws(Errno) -> Function {
    guard let address = dlsym(nil, name) else { throw .noFunction }
    return unsafeBitCast(address, to: type)
}

private typealias Rename = @convention(c) (Int32, UnsafePointer<CChar>, Int32, UnsafePointer<CChar>, UInt32) -> Int32

enum RenameFlag {
    static let noReplace: UInt32 = 1
    static let exchange: UInt32 = 2
    static let whiteout: UInt32 = 4
}

func rename(_ old: String, _ new: String, flags: UInt32) throws {
    try check(symbol("renameat2", as: Rename.self)(AT_FDCWD, old, AT_FDCWD, new, flags))
}

private typealias GetEntries = @convention(c) (Int32, UnsafeMutableRawPointer?, Int) -> Int

/// The names that one call of getdents64(2) after the other gives, buffers of `size` bytes.
func rawNames(_ directory: Int32, buffer size: Int) throws -> [[UInt8]] {
    let getEntries = try symbol("getdents64", as: GetEntries.self)
    var names: [[UInt8]] = []
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 8)
    defer { buffer.deallocate() }
    while true {
        let count = try check(getEntries(directory, buffer.baseAddress, size))
        if count == 0 { return names }
        var place = 0
        while place < count {
            let length = Int(buffer.loadUnaligned(fromByteOffset: place + 16, as: UInt16.self))
            let name = Array(buffer[(place + 19)..<(place + length)].prefix { $0 != 0 })
            if name != [46], name != [46, 46] { names.append(name) }
            place += length
        }
    }
}

private typealias Allocate = @convention(c) (Int32, Int32, Int, Int) -> Int32

enum AllocateMode {
    static let keepSize: Int32 = 1
    static let punchHole: Int32 = 2
    static let collapse: Int32 = 8
    static let zero: Int32 = 16
}

func allocate(_ file: Int32, _ mode: Int32, _ offset: Int, _ length: Int) throws {
    try check(symbol("fallocate", as: Allocate.self)(file, mode, offset, length))
}

private typealias CopyRange =
    @convention(c) (Int32, UnsafeMutablePointer<Int>?, Int32, UnsafeMutablePointer<Int>?, Int, UInt32) -> Int

func copyRange(_ source: Int32, _ offset: Int, _ target: Int32, _ targetOffset: Int, _ count: Int) throws -> Int {
    var offset = offset
    var targetOffset = targetOffset
    return try check(symbol("copy_file_range", as: CopyRange.self)(source, &offset, target, &targetOffset, count, 0))
}

private typealias Unshare = @convention(c) (Int32) -> Int32

/// A mount namespace of this thread's own.
func unshareMounts() throws {
    let newNamespace: Int32 = 0x0002_0000
    try check(symbol("unshare", as: Unshare.self)(newNamespace))
}

private typealias SystemCall = @convention(c) (Int, Int, Int, Int) -> Int

/// setresuid and setresgid of this thread only: the library's functions change all threads.
func become(user: UInt32, group: UInt32) throws {
    #if arch(x86_64)
        let (setgroups, setresuid, setresgid) = (116, 117, 119)
    #else
        let (setgroups, setresuid, setresgid) = (159, 147, 149)
    #endif
    let call = try symbol("syscall", as: SystemCall.self)
    try check(call(setgroups, 0, 0, 0))
    try check(call(setresgid, Int(group), Int(group), Int(group)))
    try check(call(setresuid, Int(user), Int(user), Int(user)))
}

struct BirthStatus {
    var seconds: Int64
    var nanoseconds: UInt32
}

private typealias ExtendedStatus =
    @convention(c) (Int32, UnsafePointer<CChar>, Int32, UInt32, UnsafeMutableRawPointer?) -> Int32

/// The time of birth by statx(2), nil when the file system does not tell.
func birth(_ path: String) throws -> BirthStatus? {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 256, alignment: 8)
    defer { buffer.deallocate() }
    let birthTime: UInt32 = 0x800
    try check(symbol("statx", as: ExtendedStatus.self)(AT_FDCWD, path, 0, birthTime | 0x7ff, buffer.baseAddress))
    guard buffer.load(as: UInt32.self) & birthTime != 0 else { return nil }
    return BirthStatus(
        seconds: buffer.load(fromByteOffset: 80, as: Int64.self),
        nanoseconds: buffer.load(fromByteOffset: 88, as: UInt32.self))
}

// sys/xattr.h is no part of the Glibc module.

private typealias SetAttribute =
    @convention(c) (UnsafePointer<CChar>, UnsafePointer<CChar>, UnsafeRawPointer?, Int, Int32) -> Int32
private typealias GetAttribute =
    @convention(c) (UnsafePointer<CChar>, UnsafePointer<CChar>, UnsafeMutableRawPointer?, Int) -> Int
private typealias ListAttributes = @convention(c) (UnsafePointer<CChar>, UnsafeMutablePointer<CChar>?, Int) -> Int
private typealias RemoveAttribute = @convention(c) (UnsafePointer<CChar>, UnsafePointer<CChar>) -> Int32

func setAttribute(_ path: String, _ name: String, _ value: [UInt8], flags: Int32 = 0) throws {
    try check(symbol("setxattr", as: SetAttribute.self)(path, name, value, value.count, flags))
}

/// `room` nil asks for the size only.
func attribute(_ path: String, _ name: String, room: Int?) throws -> (size: Int, value: [UInt8]) {
    var buffer = [UInt8](repeating: 0, count: room ?? 0)
    let get = try symbol("getxattr", as: GetAttribute.self)
    let size = try check(room == nil ? get(path, name, nil, 0) : get(path, name, &buffer, buffer.count))
    return (size, room == nil ? [] : Array(buffer[..<size]))
}

func attributeNames(_ path: String, room: Int?) throws -> (size: Int, list: [CChar]) {
    var buffer = [CChar](repeating: 0, count: room ?? 0)
    let list = try symbol("listxattr", as: ListAttributes.self)
    let size = try check(room == nil ? list(path, nil, 0) : list(path, &buffer, buffer.count))
    return (size, room == nil ? [] : Array(buffer[..<size]))
}

func removeAttribute(_ path: String, _ name: String) throws {
    try check(symbol("removexattr", as: RemoveAttribute.self)(path, name))
}
