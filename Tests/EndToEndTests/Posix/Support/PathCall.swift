import Glibc

/// A call that takes a path.
struct PathCall: CustomStringConvertible, Sendable {
    let description: String
    /// What has to be at the path for the call to succeed; nil: nothing.
    let needs: Kind?
    /// Whether a symlink at the path's end is followed.
    var follows = false
    /// Whether it changes the folder that the path's last name is in.
    var changesNames = false
    let call: @Sendable (String, Folder) -> Int32

    /// Makes what the call needs at `path`, the owner's.
    func prepare(_ path: String) throws {
        guard let needs else { return }
        try needs.make(path)
        try Person.owner.own(path)
    }

    /// Calls with the path. `here` is where it finds the other file that some calls need.
    func callAsFunction(_ path: String, _ here: Folder) -> Int32 { call(path, here) }

    static let other = "other"
    static let absent = "absent"

    /// Those that change nothing.
    static let reading: [PathCall] = [
        PathCall("stat", .file, follows: true) { path, _ in
            var now = stat()
            return stat(path, &now)
        },
        PathCall("lstat", .file) { path, _ in
            var now = stat()
            return lstat(path, &now)
        },
        PathCall("open for reading", .file, follows: true) { path, _ in opened(path, O_RDONLY) },
        PathCall("open of a folder", .directory, follows: true) { path, _ in opened(path, O_RDONLY | O_DIRECTORY) },
        PathCall("readlink", .symlink) { path, _ in
            var target = [CChar](repeating: 0, count: 100)
            return readlink(path, &target, target.count) < 0 ? -1 : 0
        },
    ]

    /// Those that change a volume.
    static let changing: [PathCall] = [
        PathCall("chmod", .file, follows: true) { path, _ in chmod(path, 0o640) },
        PathCall("chown", .file, follows: true) { path, _ in chown(path, UInt32.max, 2001) },
        PathCall("lchown", .symlink) { path, _ in lchown(path, UInt32.max, 2001) },
        PathCall("truncate", .file, follows: true) { path, _ in truncate(path, 3) },
        PathCall("utimensat", .file, follows: true) { path, _ in utimensat(AT_FDCWD, path, nil, 0) },
        PathCall("utimensat of the link", .symlink) { path, _ in utimensat(AT_FDCWD, path, nil, AT_SYMLINK_NOFOLLOW) },
        PathCall("open for writing", .file, follows: true) { path, _ in opened(path, O_WRONLY) },
        PathCall("open with O_TRUNC", .file, follows: true) { path, _ in opened(path, O_WRONLY | O_TRUNC) },
        PathCall("open with O_CREAT", nil, follows: true, names: true) { path, _ in opened(path, O_WRONLY | O_CREAT) },
        PathCall("open with O_EXCL", nil, names: true) { path, _ in opened(path, O_WRONLY | O_CREAT | O_EXCL) },
        PathCall("mkdir", nil, names: true) { path, _ in mkdir(path, 0o755) },
        PathCall("mkfifo", nil, names: true) { path, _ in mkfifo(path, 0o644) },
        PathCall("mknod", nil, names: true) { path, _ in mknod(path, S_IFREG | 0o644, 0) },
        PathCall("symlink", nil, names: true) { path, _ in symlink("nowhere", path) },
        PathCall("link to", nil, names: true) { path, here in link(here(other), path) },
        PathCall("link of", .file) { path, here in link(path, here(absent)) },
        PathCall("rename to", nil, names: true) { path, here in rename(here(other), path) },
        PathCall("rename of", .file, names: true) { path, here in rename(path, here(absent)) },
        PathCall("unlink", .file, names: true) { path, _ in unlink(path) },
        PathCall("rmdir", .directory, names: true) { path, _ in rmdir(path) },
    ]

    static let all = reading + changing

    private init(
        _ name: String, _ needs: Kind?, follows: Bool = false, names: Bool = false,
        _ call: @escaping @Sendable (String, Folder) -> Int32
    ) {
        description = name
        self.needs = needs
        self.follows = follows
        changesNames = names
        self.call = call
    }

    /// Runs `body` for each of `calls`, in a folder of its own that has the other file in it.
    static func each(_ calls: [PathCall], _ body: (PathCall, Folder) throws -> Void) throws {
        for call in calls {
            let here = try Folder()
            try Kind.file.make(here(other))
            try Person.owner.own(here(other))
            try body(call, here)
        }
    }
}
