import Glibc
import Testing

extension Posix {
    /// What is the same for every call that takes a path.
    @Suite("paths") struct Paths {
        @Test("a name has up to 255 bytes")
        func longNames() throws {
            try PathCall.each(PathCall.all) { call, here in
                let longest = here(String(repeating: "n", count: 255))
                try call.prepare(longest)
                expect(ENAMETOOLONG, call(longest + "n", here), "\(call)")
                expect(ENAMETOOLONG, call(longest + "n/x", here), "\(call)")
                expect(OK, call(longest, here), "\(call)")
            }
        }

        @Test("a path has up to 4095 bytes")
        func longPaths() throws {
            try PathCall.each(PathCall.all) { call, here in
                try call.prepare(here("it"))
                let rest = 4095 - here("it").utf8.count
                let dots = String(repeating: "/.", count: rest / 2) + String(repeating: "/", count: rest % 2)
                let longest = here.path + dots + "/it"
                #expect(longest.utf8.count == 4095)
                expect(ENAMETOOLONG, call(here.path + "/" + dots + "/it", here), "\(call)")
                expect(OK, call(longest, here), "\(call)")
            }
        }

        @Test("what leads there has to be there, and has to be a folder")
        func prefixes() throws {
            try PathCall.each(PathCall.all) { call, here in
                expect(ENOENT, call("", here), "\(call) empty")
                expect(ENOENT, call(here("none/x"), here), "\(call)")
                if call.needs != nil { expect(ENOENT, call(here("none"), here), "\(call) itself") }
                for kind in Kind.allCases where kind != .directory {
                    try kind.make(here("\(kind)"))
                    expect(kind == .symlink ? ENOENT : ENOTDIR, call(here("\(kind)/x"), here), "\(call) through \(kind)")
                }
                // Only a folder's name may have a slash at its end.
                if call.needs == .file { expect(ENOTDIR, call(here(PathCall.other + "/"), here), "\(call) slash") }
            }
        }

        @Test("forty symlinks are followed, not one more, and no circle")
        func chains() throws {
            try PathCall.each(PathCall.all) { call, here in
                try check(symlink("round", here("about")))
                try check(symlink("about", here("round")))
                expect(ELOOP, call(here("about/x"), here), "\(call)")
                if call.follows { expect(ELOOP, call(here("about"), here), "\(call) itself") }

                try check(mkdir(here("0"), 0o777))
                try call.prepare(here("0/it"))
                for number in 1...41 { try check(symlink("\(number - 1)", here("\(number)"))) }
                expect(ELOOP, call(here("41/it"), here), "\(call)")
                expect(OK, call(here("40/it"), here), "\(call)")
            }
        }

        @Test("a call that makes a name does not follow a symlink that is there, one that takes it away neither")
        func ends() throws {
            try PathCall.each(PathCall.changing) { call, here in
                try check(symlink("nowhere", here("link")))
                guard !call.follows else { return }
                switch (call.needs, call.description) {
                case (nil, "rename to"), (.file, _), (.symlink, _): expect(OK, call(here("link"), here), "\(call)")
                case (nil, _): expect(EEXIST, call(here("link"), here), "\(call)")
                default: expect(ENOTDIR, call(here("link"), here), "\(call)")
                }
                #expect(!exists(here("nowhere")), "\(call)")
            }
        }

        @Test("whoever may not search a folder on the way gets nowhere: owner, group and others each by their own bit")
        func search() throws {
            try PathCall.each(PathCall.all) { call, here in
                try folders(here, call, without: 0o1)
            }
        }

        @Test("names change only for those who may write to the folder they are in, each by their own bit")
        func write() throws {
            try PathCall.each(PathCall.changing.filter(\.changesNames)) { call, here in
                try folders(here, call, without: 0o2)
            }
        }

        /// Each person's call in a folder whose mode lacks a bit for that person's class, and then in one that lacks it for all
        /// others.
        private func folders(_ here: Folder, _ call: PathCall, without bit: mode_t) throws {
            for (person, shift) in Person.classes {
                try check(mkdir(here("folder"), 0o777))
                try Person.owner.own(here("folder"))
                try call.prepare(here("folder/it"))
                // Whatever the call wants to do with the file itself is allowed.
                if call.needs != nil { try check(lchown(here("folder/it"), person.user, 2001)) }
                try check(lchown(here(PathCall.other), person.user, person.group))
                let caller = Person(
                    description: person.description, user: person.user, group: person.group, groups: person.groups + [2001])
                try check(chmod(here("folder"), 0o777 & ~(bit << shift)))
                try acting(as: caller) { expect(EACCES, call(here("folder/it"), here), "\(call), \(person)") }
                try check(chmod(here("folder"), 0o777 & ~(bit * 0o111) | bit << shift))
                try acting(as: caller) { expect(OK, call(here("folder/it"), here), "\(call), \(person) alone") }
                for name in ["folder/it", PathCall.absent, "folder"] { remove(here(name)) }
                if !exists(here(PathCall.other)) { try Kind.file.make(here(PathCall.other)) }
            }
        }
    }
}
