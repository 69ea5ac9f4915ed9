import Glibc
import SystemPackage
import Testing

/// What a call gives that succeeds.
let OK: Int32 = 0

/// Expects a call to fail with this error, or to succeed.
func expect<Value: SignedInteger>(
    _ expected: Int32, _ call: @autoclosure () -> Value, _ row: @autoclosure () -> String = "",
    location: SourceLocation = #_sourceLocation
) {
    let result: Int32 = call() < 0 ? errno : OK
    if result != expected {
        Issue.record("\(row()): \(name(result)), not \(name(expected))", sourceLocation: location)
    }
}

private func name(_ error: Int32) -> String { error == OK ? "success" : "\(Errno(rawValue: error)) (\(error))" }

/// open(2) that leaves nothing open.
func opened(_ path: String, _ flags: Int32, _ mode: mode_t = 0o644) -> Int32 {
    let file = open(path, flags | O_CLOEXEC, mode)
    return file < 0 ? file : close(file)
}

/// A call that gives its error back instead of putting it into errno.
func returned(_ error: Int32) -> Int32 {
    errno = error
    return error == 0 ? 0 : -1
}

/// The mode without the type.
func mode(_ path: String) throws -> mode_t { try status(path).st_mode & 0o7777 }

/// The times of an inode.
struct Times: OptionSet, CustomStringConvertible {
    let rawValue: Int
    static let accessed = Times(rawValue: 1)
    static let modified = Times(rawValue: 2)
    static let changed = Times(rawValue: 4)
    /// Of what a file or a folder has in it.
    static let content: Times = [.modified, .changed]
    static let all: Times = [.accessed, .modified, .changed]

    init(rawValue: Int) { self.rawValue = rawValue }

    /// Those that are later in `after`; nil when one is earlier.
    init?(from before: stat, to after: stat) {
        var moved: Times = []
        let pairs: [(Times, timespec, timespec)] = [
            (.accessed, before.st_atim, after.st_atim), (.modified, before.st_mtim, after.st_mtim),
            (.changed, before.st_ctim, after.st_ctim),
        ]
        for (time, old, new) in pairs {
            if (new.tv_sec, new.tv_nsec) < (old.tv_sec, old.tv_nsec) { return nil }
            if (new.tv_sec, new.tv_nsec) > (old.tv_sec, old.tv_nsec) { moved.insert(time) }
        }
        self = moved
    }

    var description: String {
        let names: [(Times, String)] = [(.accessed, "accessed"), (.modified, "modified"), (.changed, "changed")]
        return "[" + names.filter { contains($0.0) }.map(\.1).joined(separator: ", ") + "]"
    }
}

/// Expects what `body` does to move exactly these times of these inodes. A path that is watched may be renamed meanwhile: the
/// inode counts.
func expectMoves(
    _ expected: [(path: String, times: Times)], _ row: String = "", location: SourceLocation = #_sourceLocation,
    _ body: () throws -> Void
) throws {
    let files = try expected.map { try check(open($0.path, pathOnly | O_NOFOLLOW | O_CLOEXEC)) }
    defer { files.forEach { close($0) } }
    let before = try files.map(status)
    nextTick()
    try body()
    for ((path, times), (before, file)) in zip(expected, zip(before, files)) {
        let moved = Times(from: before, to: try status(file))
        #expect(moved == times, "\(row) \(path.split(separator: "/").last ?? "")", sourceLocation: location)
    }
}

private func status(_ file: Int32) throws -> stat {
    var now = stat()
    try check(fstat(file, &now))
    return now
}

/// O_PATH, which Glibc's module does not have: a descriptor of anything, that opens nothing.
let pathOnly: Int32 = 0o10000000

/// File systems take the time from the kernel's last tick: within ten milliseconds there is one.
func nextTick() { usleep(10_000) }
