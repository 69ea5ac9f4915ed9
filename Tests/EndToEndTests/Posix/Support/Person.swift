import Glibc
import SystemPackage

/// Who makes a call.
struct Person: CustomStringConvertible {
    let description: String
    let user: UInt32
    let group: UInt32
    /// Supplementary groups.
    var groups: [UInt32] = []

    static let root = Person(description: "root", user: 0, group: 0)
    static let owner = Person(description: "owner", user: 1001, group: 1001, groups: [2001])
    /// Of the owner's group, by a supplementary one.
    static let member = Person(description: "member", user: 1002, group: 1002, groups: [2002, 1001])
    static let other = Person(description: "other", user: 1003, group: 1003)

    /// Those that the three digits of a mode are about, for a file of `owner`'s.
    static let classes: [(person: Person, shift: mode_t)] = [(.owner, 6), (.member, 3), (.other, 0)]

    /// Makes it the owner, with the group of its own.
    func own(_ path: String) throws { try check(lchown(path, user, group)) }
}

/// Runs `body` on this thread as somebody else, who has none of root's rights.
@discardableResult
func acting<Value>(as person: Person, _ body: () throws -> Value) throws -> Value {
    guard person.user != 0 else { return try body() }
    try become(person)
    defer {
        // A thread that stays somebody else would make every test after it lie.
        do { try become(.root) } catch { fatalError("root cannot be root again: \(error)") }
    }
    return try body()
}

/// The effective ids of this thread only: the library's functions change those of all threads. The real ones stay root's, which
/// may therefore come back.
private func become(_ person: Person) throws {
    #if arch(x86_64)
        let (setgroups, setresuid, setresgid) = (116, 117, 119)
    #else
        let (setgroups, setresuid, setresgid) = (159, 147, 149)
    #endif
    let same = -1
    // Root's effective id comes first when it comes back: nobody else may change groups.
    if person.user == 0 { try systemCall(setresuid, same, 0, same) }
    try person.groups.withUnsafeBufferPointer {
        try systemCall(setgroups, $0.count, Int(bitPattern: $0.baseAddress), 0)
    }
    try systemCall(setresgid, same, Int(person.group), same)
    if person.user != 0 { try systemCall(setresuid, same, Int(person.user), same) }
}

/// Runs `body` with this mask for new files, which all threads share.
@discardableResult
func masked<Value>(_ mask: mode_t, _ body: () throws -> Value) rethrows -> Value {
    let before = umask(mask)
    defer { umask(before) }
    return try body()
}
