import LanfsFileSystem
import LanfsProtocol
import LanfsTree
import Testing

@Suite("The check")
struct CheckTests {
    /// A volume with one of each: directories 2 and 3 (in 2), files `file` with a run and `small`.
    private func volume() throws -> (Volume, file: InodeNumber, outer: InodeNumber, inner: InodeNumber) {
        let volume = try Volume()
        let outer = try volume.makeDirectory("outer")
        let inner = try volume.makeDirectory("inner", in: outer)
        let file = try volume.create("file", in: inner)
        _ = try volume.write(file, offset: 0, [UInt8](repeating: 1, count: 100_000))
        return (volume, file, outer, inner)
    }

    struct Wound: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let inflict: @Sendable (Volume, _ file: InodeNumber, _ outer: InodeNumber, _ inner: InodeNumber) throws -> Void
    }

    static let wounds: [Wound] = [
        Wound(testDescription: "a link count") { volume, file, _, _ in
            try volume.damage(file) { $0.attributes.linkCount = 2 }
        },
        Wound(testDescription: "a directory's link count") { volume, _, outer, _ in
            try volume.damage(outer) { $0.attributes.linkCount = 2 }
        },
        Wound(testDescription: "a directory's number of entries") { volume, _, outer, _ in
            try volume.damage(outer) { $0.attributes.size = 2 }
        },
        Wound(testDescription: "a directory's parent") { volume, _, _, inner in
            try volume.damage(inner) { $0.parent = rootInode }
        },
        Wound(testDescription: "a file's size") { volume, file, _, _ in
            try volume.damage(file) { $0.attributes.size = 99_999 }
        },
        Wound(testDescription: "allocated bytes") { volume, file, _, _ in
            try volume.damage(file) { $0.attributes.allocated -= 1 }
        },
        Wound(testDescription: "a missing inode") { volume, file, _, _ in
            volume.apply([Change(key: RecordKey.inode(file).key, value: nil)])
        },
        Wound(testDescription: "a missing entry") { volume, _, _, inner in
            volume.apply([Change(key: RecordKey.entry(parent: inner, name: Array("file".utf8)).key, value: nil)])
        },
        Wound(testDescription: "an entry of another type") { volume, file, _, inner in
            let entry = EntryRecord(inode: file, type: .fifo).encoded()
            volume.apply([Change(key: RecordKey.entry(parent: inner, name: Array("file".utf8)).key, value: entry)])
        },
        Wound(testDescription: "a second name of a directory") { volume, _, _, inner in
            let entry = EntryRecord(inode: inner, type: .directory).encoded()
            volume.apply([Change(key: RecordKey.entry(parent: rootInode, name: [97]).key, value: entry)])
        },
        Wound(testDescription: "a loop of directories") { volume, _, outer, inner in
            let entry = EntryRecord(inode: outer, type: .directory).encoded()
            try volume.damage(outer) { $0.parent = inner }
            try volume.damage(inner) {
                $0.attributes.linkCount = 3
                $0.attributes.size = 2
            }
            try volume.damage(rootInode) {
                $0.attributes.linkCount = 2
                $0.attributes.size = 0
            }
            volume.apply([
                Change(key: RecordKey.entry(parent: rootInode, name: Array("outer".utf8)).key, value: nil),
                Change(key: RecordKey.entry(parent: inner, name: Array("outer".utf8)).key, value: entry),
            ])
        },
        Wound(testDescription: "an orphan key of a file with a name") { volume, file, _, _ in
            volume.apply([Change(key: RecordKey.orphan(volume.incarnation, file).key, value: [1])])
        },
        Wound(testDescription: "a file without name and orphan key") { volume, file, _, inner in
            volume.open.insert(file)
            try volume.unlink("file", in: inner)
            volume.apply([Change(key: RecordKey.orphan(volume.incarnation, file).key, value: nil)])
        },
        Wound(testDescription: "a missing extent") { volume, file, _, _ in
            volume.apply([Change(key: RecordKey.extent(file, generation: 0, chunk: 0).key, value: nil)])
        },
        Wound(testDescription: "an extent of no file") { volume, file, _, _ in
            let extent = try volume.read { (tree) throws(Interruption) in try tree.extents(limit: 1) }[0].extent
            volume.apply([
                Change(key: RecordKey.extent(file + 50, generation: 0, chunk: 0).key, value: extent.encoded())
            ])
        },
        Wound(testDescription: "an overlap") { volume, file, _, _ in
            let extent = try volume.read { (tree) throws(Interruption) in try tree.extents(limit: 1) }[0].extent
            volume.apply([Change(key: RecordKey.extent(file, generation: 0, chunk: 1).key, value: extent.encoded())])
        },
        Wound(testDescription: "a missing usage") { volume, _, _, _ in
            let block = try volume.read { (tree) throws(Interruption) in try tree.blocks(limit: 1) }[0].block
            volume.apply([Change(key: RecordKey.usage(block).key, value: nil)])
        },
        Wound(testDescription: "a live block on the dead list") { volume, _, _, _ in
            let block = try volume.read { (tree) throws(Interruption) in try tree.blocks(limit: 1) }[0].block
            volume.apply([Change(key: RecordKey.dead(sequence: 4, block).key, value: [1] + [UInt8](repeating: 0, count: 8))])
        },
        Wound(testDescription: "a trim of what is in use") { volume, file, _, _ in
            volume.apply([Change(key: RecordKey.trim(file, generation: 0).key, value: [1])])
        },
        Wound(testDescription: "the superblock's counters") { volume, _, _, _ in
            var superblock = try volume.read { (tree) throws(Interruption) in try tree.superblock() }
            superblock.files += 1
            volume.apply([Change(key: RecordKey.superblock.key, value: superblock.encoded())])
        },
        Wound(testDescription: "the superblock's bytes") { volume, _, _, _ in
            var superblock = try volume.read { (tree) throws(Interruption) in try tree.superblock() }
            superblock.bytes += 1
            volume.apply([Change(key: RecordKey.superblock.key, value: superblock.encoded())])
        },
        Wound(testDescription: "numbers handed out twice") { volume, _, _, _ in
            var superblock = try volume.read { (tree) throws(Interruption) in try tree.superblock() }
            superblock.nextInode = 2
            volume.apply([Change(key: RecordKey.superblock.key, value: superblock.encoded())])
        },
        Wound(testDescription: "names of extended attributes") { volume, file, _, _ in
            try volume.damage(file) { $0.attributeNames = 7 }
        },
        Wound(testDescription: "a piece of an extended attribute") { volume, file, _, _ in
            try volume.run { (tree) throws(Interruption) in
                try tree.setExtendedAttribute(
                    Array("user.a".utf8), of: file, to: [UInt8](repeating: 1, count: 5000), mode: .any,
                    by: volume.caller)
            }
            volume.apply([Change(key: RecordKey.attribute(file, name: Array("user.a".utf8), piece: 1).key, value: nil)])
        },
        Wound(testDescription: "a record that cannot be read") { volume, file, _, _ in
            volume.apply([Change(key: RecordKey.inode(file).key, value: [9, 9])])
        },
        Wound(testDescription: "a key of no kind") { volume, _, _, _ in
            volume.apply([Change(key: Key([0x11, 1]), value: [1])])
        },
    ]

    @Test("finds nothing in a sound volume")
    func sound() throws {
        #expect(try volume().0.check() == [])
    }

    @Test("finds every kind of damage", arguments: wounds)
    func finds(_ wound: Wound) throws {
        let (volume, file, outer, inner) = try volume()
        try wound.inflict(volume, file, outer, inner)
        #expect(try volume.check() != [])
    }
}
