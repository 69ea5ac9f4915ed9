import LanfsFileSystem
import SystemPackage
import Testing

@Suite("Directories")
struct DirectoryTests {
    @Test("are listed page by page, whatever the page's size", arguments: [1, 2, 7, 99, 100, 101])
    func paging(limit: Int) throws {
        let volume = try Volume(shape: .tiny)
        for number in 0..<100 { try volume.create("file\(number)") }
        var seen: [[UInt8]] = []
        while true {
            let page = try volume.read { (tree) throws(Interruption) in
                try tree.entries(of: rootInode, after: seen.last, limit: limit)
            }
            #expect(page.count <= limit)
            seen += page.map(\.name)
            if page.count < limit { break }
        }
        #expect(seen == (0..<100).map { Array("file\($0)".utf8) }.sorted(by: isBefore))
    }

    @Test("go on after a name that was removed meanwhile")
    func pagingWhileRemoving() throws {
        let volume = try Volume()
        for name in ["a", "b", "c", "d"] { try volume.create(name) }
        try volume.unlink("b")
        let page = try volume.read { (tree) throws(Interruption) in
            try tree.entriesWithAttributes(of: rootInode, after: Array("b".utf8), limit: 10)
        }
        #expect(page.map(\.entry.name) == [Array("c".utf8), Array("d".utf8)])
        #expect(page.allSatisfy { $0.attributes?.inode == $0.entry.inode })
    }

    @Test("stay listable when an inode's record is missing")
    func missingInode() throws {
        let volume = try Volume()
        let file = try volume.create("a")
        try volume.create("b")
        volume.apply([.init(key: RecordKey.inode(file).key, value: nil)])
        let page = try volume.read { (tree) throws(Interruption) in
            try tree.entriesWithAttributes(of: rootInode, limit: 10)
        }
        #expect(page.map { $0.attributes == nil } == [true, false])
    }

    @Test("count their entries and subdirectories")
    func counts() throws {
        let volume = try Volume()
        let directory = try volume.makeDirectory("directory")
        try volume.create("file", in: directory)
        try volume.makeDirectory("sub", in: directory)
        #expect(try volume.attributes(directory).size == 2)
        #expect(try volume.attributes(directory).linkCount == 3)
        #expect(throws: Errno.directoryNotEmpty) { try volume.removeDirectory("directory") }
        try volume.removeDirectory("sub", in: directory)
        try volume.unlink("file", in: directory)
        #expect(try volume.attributes(directory).linkCount == 2)
        try volume.removeDirectory("directory")
        #expect(throws: Errno.staleNFSFileHandle) { try volume.attributes(directory) }
    }

    @Test("that were removed while open take no new names and look empty")
    func removedWhileOpen() throws {
        let volume = try Volume()
        let directory = try volume.makeDirectory("directory")
        volume.open.insert(directory)
        #expect(try volume.removeDirectory("directory").isGone == false)
        #expect(try volume.attributes(directory).linkCount == 0)
        #expect(try volume.names(directory) == [])
        #expect(throws: Errno.noSuchFileOrDirectory) { try volume.create("x", in: directory) }
        try volume.create("file")
        #expect(throws: Errno.noSuchFileOrDirectory) { try volume.rename("file", to: "x", under: directory) }
        #expect(try volume.check() == [])
        try volume.release(directory)
        #expect(throws: Errno.staleNFSFileHandle) { try volume.attributes(directory) }
        #expect(try volume.check() == [])
    }

    @Test("with set-group-id give their group to what is made in them, and the bit to directories")
    func groupInheritance() throws {
        let volume = try Volume()
        let directory = try volume.makeDirectory("shared")
        var changes = AttributeChanges()
        changes.group = 77
        changes.permissions = 0o2775
        try volume.setAttributes(directory, changes)
        volume.user = 5
        let file = try volume.attributes(try volume.create("file", in: directory))
        #expect(file.group == 77 && file.permissions == 0o644)
        let inner = try volume.attributes(try volume.makeDirectory("inner", in: directory))
        #expect(inner.group == 77 && inner.permissions == 0o2755)
    }

    @Test("know `.` and `..`, and what is no directory")
    func dots() throws {
        let volume = try Volume()
        let outer = try volume.makeDirectory("outer")
        let inner = try volume.makeDirectory("inner", in: outer)
        #expect(try volume.lookup("..", in: inner).inode == outer)
        #expect(try volume.lookup(".", in: inner).inode == inner)
        #expect(try volume.lookup("..").inode == rootInode)
        let file = try volume.create("file")
        #expect(throws: Errno.notDirectory) { try volume.lookup("x", in: file) }
        #expect(throws: Errno.notDirectory) { try volume.create("x", in: file) }
        #expect(throws: Errno.staleNFSFileHandle) { try volume.lookup("x", in: 999_999) }
    }

    @Test("take names of 1 to 255 bytes in any encoding", arguments: [0, 1, 254, 255, 256])
    func nameLength(length: Int) throws {
        let volume = try Volume()
        let name = [UInt8](repeating: 0xff, count: length)
        let number = try volume.nextNumber()
        let outcome = Result { () throws(Errno) in
            try volume.run { (tree) throws(Interruption) in
                try tree.makeNode(
                    name, in: rootInode, type: .regular, permissions: 0o644, inode: number, by: volume.caller)
            }
        }
        switch length {
        case 0: #expect(throws: Errno.noSuchFileOrDirectory) { try outcome.get() }
        case 256: #expect(throws: Errno.fileNameTooLong) { try outcome.get() }
        default:
            _ = try outcome.get()
            let found = try volume.read { (tree) throws(Interruption) in try tree.lookup(name, in: rootInode) }
            #expect(found.inode == number)
        }
    }

    @Test("have a limit of links, and files too")
    func linkLimit() throws {
        let volume = try Volume()
        let directory = try volume.makeDirectory("directory")
        let file = try volume.create("file")
        try volume.damage(directory) { $0.attributes.linkCount = FileSystemLimits.links }
        try volume.damage(file) { $0.attributes.linkCount = FileSystemLimits.links }
        #expect(throws: Errno.tooManyLinks) { try volume.makeDirectory("x", in: directory) }
        #expect(throws: Errno.tooManyLinks) { try volume.link(file, to: "x") }
        try volume.makeDirectory("y")
        #expect(throws: Errno.tooManyLinks) { try volume.rename("y", to: "y", under: directory) }
    }
}

@Suite("Creating")
struct CreateTests {
    private func create(_ volume: Volume, _ name: String, exclusive: Bool) throws(Errno) -> (Attributes, Bool) {
        let number = try volume.nextNumber()
        return try volume.run { (tree) throws(Interruption) in
            try tree.create(
                Array(name.utf8), in: rootInode, permissions: 0o600, exclusive: exclusive, inode: number,
                by: volume.caller)
        }
    }

    @Test("without O_EXCL opens what is there")
    func existing() throws {
        let volume = try Volume()
        let (first, isNew) = try create(volume, "file", exclusive: false)
        #expect(isNew && first.permissions == 0o600 && first.linkCount == 1)
        let (second, isNewAgain) = try create(volume, "file", exclusive: false)
        #expect(!isNewAgain && second == first)
        #expect(throws: Errno.fileExists) { try create(volume, "file", exclusive: true) }
        try volume.makeDirectory("directory")
        #expect(throws: Errno.isDirectory) { try create(volume, "directory", exclusive: false) }
    }

    @Test("symbolic links keep targets of 1 to 4095 bytes", arguments: [0, 1, 4094, 4095, 4096])
    func targets(length: Int) throws {
        let volume = try Volume()
        let number = try volume.nextNumber()
        let target = [UInt8](repeating: 0xfe, count: length)
        let outcome = Result { () throws(Errno) in
            try volume.run { (tree) throws(Interruption) in
                try tree.makeSymlink([97], in: rootInode, to: target, inode: number, by: volume.caller)
            }
        }
        switch length {
        case 0: #expect(throws: Errno.noSuchFileOrDirectory) { try outcome.get() }
        case 4096: #expect(throws: Errno.fileNameTooLong) { try outcome.get() }
        default:
            #expect(try outcome.get().size == UInt64(length))
            #expect(try volume.read { (tree) throws(Interruption) in try tree.readLink(number) } == target)
        }
    }

    @Test("a volume twice is refused, and numbers are handed out once")
    func format() throws {
        let volume = try Volume()
        #expect(throws: Errno.fileExists) {
            try volume.run { (tree) throws(Interruption) in try tree.format(by: volume.caller) }
        }
        let first = try volume.run { (tree) throws(Interruption) in try tree.reserveInodes() }
        let second = try volume.run { (tree) throws(Interruption) in try tree.reserveInodes(10) }
        #expect(first.lowerBound == 2 && first.count == 1 << 20)
        #expect(second == first.upperBound..<first.upperBound + 10)
        #expect(throws: Errno.noSpace) {
            try volume.run { (tree) throws(Interruption) in _ = try tree.reserveInodes(.max) }
        }
    }

    @Test("writes four records: name, inode, directory, superblock")
    func cost() throws {
        let volume = try Volume()
        let number = try volume.nextNumber()
        var changes = 0
        try volume.run { (tree) throws(Interruption) in
            _ = try tree.makeNode(
                [97], in: rootInode, type: .regular, permissions: 0o644, inode: number, by: volume.caller)
            changes = tree.changes.count
        }
        #expect(changes == 4)
    }
}
