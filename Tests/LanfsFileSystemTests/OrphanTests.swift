import LanfsFileSystem
import SystemPackage
import Testing

@Suite("Files without a name")
struct OrphanTests {
    @Test("live until their session closes them")
    func lastClose() throws {
        let volume = try Volume()
        let file = try volume.create("file")
        volume.open.insert(file)
        try volume.unlink("file")
        #expect(try volume.attributes(file).linkCount == 0)
        _ = try volume.write(file, offset: 0, [1, 2, 3])
        #expect(try volume.contents(file) == [1, 2, 3])
        #expect(try orphans(volume) == [file])
        try volume.release(file)
        #expect(try orphans(volume) == [])
        #expect(throws: Errno.staleNFSFileHandle) { try volume.write(file, offset: 0, [1]) }
        #expect(try volume.check() == [])
    }

    @Test("may be directories")
    func directory() throws {
        let volume = try Volume()
        let directory = try volume.makeDirectory("directory")
        volume.open.insert(directory)
        try volume.removeDirectory("directory")
        #expect(try volume.attributes(directory).linkCount == 0)
        #expect(throws: Errno.noSuchFileOrDirectory) { try volume.create("file", in: directory) }
        #expect(try volume.check() == [])
        try volume.release(directory)
        #expect(try orphans(volume) == [])
        #expect(throws: Errno.staleNFSFileHandle) { try volume.attributes(directory) }
        #expect(try volume.check() == [])
    }

    @Test("keep one of several names without being one")
    func secondName() throws {
        let volume = try Volume()
        let file = try volume.create("file")
        try volume.link(file, to: "other")
        volume.open.insert(file)
        #expect(try volume.unlink("file").linkCount == 1)
        #expect(try orphans(volume) == [])
        try volume.release(file)
        #expect(try volume.attributes(file).linkCount == 1)
    }

    @Test("of O_TMPFILE get one by link, from their own session only")
    func unnamed() throws {
        let volume = try Volume()
        let number = try volume.nextNumber()
        let attributes = try volume.run { (tree) throws(Interruption) in
            try tree.createUnnamed(
                in: rootInode, permissions: 0o600, inode: number, by: volume.caller, incarnation: volume.incarnation)
        }
        #expect(attributes.linkCount == 0)
        #expect(try volume.check() == [])
        #expect(throws: Errno.noSuchFileOrDirectory) {
            try volume.run { (tree) throws(Interruption) in
                _ = try tree.link(
                    number, to: [97], in: rootInode, by: volume.caller, incarnation: Incarnation(high: 9, low: 9))
            }
        }
        #expect(try volume.link(number, to: "name").linkCount == 1)
        #expect(try orphans(volume) == [])
        try volume.release(number)
        #expect(try volume.lookup("name").inode == number)
        #expect(try volume.check() == [])
    }

    @Test("of dead sessions are found by the next mount")
    func deadSession() throws {
        let volume = try Volume()
        var files: [InodeNumber] = []
        for number in 0..<5 {
            let file = try volume.create("f\(number)")
            volume.open.insert(file)
            try volume.unlink("f\(number)")
            files.append(file)
        }
        volume.open = []
        let dead = volume.incarnation
        func left() throws(Errno) -> [InodeNumber] {
            try volume.read { (tree) throws(Interruption) in try tree.orphans(of: dead, limit: 3) }
        }
        #expect(try left() == Array(files[..<3]))
        while case let some = try left(), !some.isEmpty {
            try volume.run { (tree) throws(Interruption) in
                for inode in some { try tree.releaseOrphan(inode, of: dead) }
            }
        }
        #expect(try volume.records().count == 2)
        #expect(try volume.check() == [])
    }

    private func orphans(_ volume: Volume) throws(Errno) -> [InodeNumber] {
        try volume.read { (tree) throws(Interruption) in try tree.orphans(of: volume.incarnation, limit: 10) }
    }
}
