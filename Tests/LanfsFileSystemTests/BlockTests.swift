import LanfsFileSystem
import LanfsProtocol
import LanfsTree
import SystemPackage
import Testing

@Suite("Blocks")
struct BlockTests {
    private func frame(_ block: BlockID, _ index: Int, plain: Int = 59) -> FrameRef {
        FrameRef(
            block: block, key: .zero, index: UInt32(index), offset: UInt32(index * 100),
            length: UInt32(plain + Limits.frameOverhead))
    }

    private func usage(_ volume: Volume, _ block: BlockID) throws(Errno) -> BlockUsage? {
        try volume.read { (tree) throws(Interruption) in try tree.usage(of: block) }
    }

    private func put(_ volume: Volume, _ file: InodeNumber, _ frame: FrameRef) throws(Errno) {
        try volume.run { (tree) throws(Interruption) in
            _ = try tree.noteWrite(file, range: 0..<59, by: volume.caller)
            try tree.putRun(file, firstChunk: 0, count: 1, frames: frame, lastLength: 59)
        }
    }

    @Test("shared by several files are dead when the last of them is gone")
    func packed() throws {
        let volume = try Volume()
        let block = volume.newBlock()
        try volume.run { (tree) throws(Interruption) in
            try tree.registerBlock(block, length: 1000, kind: .data)
        }
        for name in ["a", "b", "c"] {
            try put(volume, try volume.create(name), frame(block, Int(name.utf8.first ?? 0) - 97))
        }
        #expect(try usage(volume, block) == BlockUsage(kind: .data, total: 1000, live: 300))
        try volume.unlink("a")
        try put(volume, try volume.lookup("b").inode, frame(volume.newBlock(), 0))
        #expect(try usage(volume, block) == BlockUsage(kind: .data, total: 1000, live: 100))
        #expect(try usage(volume, block)?.isMostlyDead == true)
        try volume.truncate(try volume.lookup("c").inode, to: 0)
        #expect(try usage(volume, block) == nil)
        #expect(try volume.check() == [])
    }

    @Test("go to the dead list under the commit's sequence, once it is known")
    func deadList() throws {
        let volume = try Volume()
        let block = volume.newBlock()
        try put(volume, try volume.create("file"), frame(block, 0))
        var changes: [Change] = []
        try volume.run { (tree) throws(Interruption) in
            _ = try tree.unlink(
                Array("file".utf8), in: rootInode, by: volume.caller, incarnation: volume.incarnation,
                isOpen: { _ in false })
            changes = tree.changes
        }
        func dead(before sequence: UInt64) throws(Errno) -> [BlockID] {
            try volume.read { (tree) throws(Interruption) in try tree.deadBlocks(before: sequence, limit: 9) }
                .map(\.block)
        }
        #expect(try dead(before: .max) == [])
        let stamped = stampDead(changes, with: 7)
        #expect(stamped.map(\.key) == stamped.map(\.key).sorted())
        #expect(stampDead(stamped, with: 8) == stamped)
        volume.apply(stamped)
        #expect(try dead(before: 7) == [])
        #expect(try dead(before: 8) == [block])
        #expect(try volume.check() == [])
        try volume.run { (tree) throws(Interruption) in
            tree.forgetDead(try tree.deadBlocks(before: 8, limit: 9))
        }
        #expect(try dead(before: .max) == [])
        #expect(try volume.records().count == 2)
    }

    @Test("are kept when their count is wrong")
    func wrongCount() throws {
        let volume = try Volume()
        let block = volume.newBlock()
        try put(volume, try volume.create("file"), frame(block, 0))
        let wrong = BlockUsage(kind: .data, total: 500, live: 40)
        volume.apply([Change(key: RecordKey.usage(block).key, value: wrong.encoded())])
        #expect(try volume.check().count == 1)
        try volume.unlink("file")
        #expect(try usage(volume, block) == wrong)
    }

    @Test("that were registered and never used can be discarded, others not")
    func unused() throws {
        let volume = try Volume()
        let (used, unused) = (volume.newBlock(), volume.newBlock())
        try put(volume, try volume.create("file"), frame(used, 0))
        try volume.run { (tree) throws(Interruption) in
            try tree.registerBlock(unused, length: 10, kind: .tree)
            try tree.discardUnusedBlock(unused)
        }
        #expect(try usage(volume, unused) == nil)
        #expect(throws: Errno.resourceBusy) {
            try volume.run { (tree) throws(Interruption) in try tree.discardUnusedBlock(used) }
        }
    }
}
