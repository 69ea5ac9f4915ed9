import Glibc
import Testing

extension Posix {
    /// Folders like /tmp: names in them are their owners' to take away.
    @Suite("sticky folders") struct Sticky {
        /// Each takes away what `path` leads to, or puts something of the caller's in its place.
        private static let calls: [(name: String, kind: Kind, call: @Sendable (String, Folder) -> Int32)] = [
            ("unlink", .file, { path, _ in unlink(path) }),
            ("unlink of a symlink", .symlink, { path, _ in unlink(path) }),
            ("rmdir", .directory, { path, _ in rmdir(path) }),
            ("rename of", .file, { path, here in rename(path, here("away")) }),
            ("rename of a folder", .directory, { path, here in rename(path, here("away")) }),
            ("rename within", .file, { path, here in rename(path, here("folder/new")) }),
            ("rename over", .file, { path, here in rename(here("mine"), path) }),
            ("rename over a folder", .directory, { path, here in rename(here("my folder"), path) }),
        ]

        @Test("the file's owner, the folder's owner and root take names away, nobody else")
        func owners() throws {
            let (file, folder) = (Person.member, Person.owner)
            for (name, kind, call) in Self.calls {
                let rows: [(mode_t, Person, Int32)] = [
                    (0o1777, file, OK), (0o1777, folder, OK), (0o1777, .root, OK), (0o1777, .other, EPERM), (0o777, .other, OK),
                ]
                for (bits, person, expected) in rows {
                    let here = try Folder()
                    try check(mkdir(here("folder"), 0o777))
                    try folder.own(here("folder"))
                    try check(chmod(here("folder"), bits))
                    try kind.make(here("folder/it"))
                    if kind != .symlink { try check(chmod(here("folder/it"), 0o777)) }
                    try file.own(here("folder/it"))
                    for (mine, kind) in [("mine", Kind.file), ("my folder", .directory)] {
                        try kind.make(here(mine))
                        try person.own(here(mine))
                    }
                    let inode = try status(here("folder/it")).st_ino
                    try acting(as: person) { expect(expected, call(here("folder/it"), here), "\(name), \(bits), \(person)") }
                    let isThere = (try? status(here("folder/it")))?.st_ino == inode
                    #expect(isThere == (expected != OK), "\(name), \(bits), \(person)")
                }
            }
        }

        @Test("everybody makes names in them")
        func creation() throws {
            let here = try Folder()
            try check(chmod(here.path, 0o1777))
            try acting(as: .other) {
                for kind in [Kind.file, .directory, .symlink, .fifo] { try kind.make(here("\(kind)")) }
            }
        }
    }
}
