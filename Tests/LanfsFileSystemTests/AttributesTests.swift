import LanfsFileSystem
import SystemPackage
import TestSupport
import Testing

@Suite("Attributes")
struct AttributesTests {
    private func changes(_ set: (inout AttributeChanges) -> Void) -> AttributeChanges {
        var changes = AttributeChanges()
        set(&changes)
        return changes
    }

    @Test("chown takes set-user-id and set-group-id off files, not off directories")
    func chown() throws {
        let volume = try Volume()
        let program = try volume.create("program", permissions: 0o6755)
        let lockable = try volume.create("lockable", permissions: 0o6745)
        let directory = try volume.makeDirectory("directory", permissions: 0o6755)
        let owner = changes { $0.user = 9 }
        #expect(try volume.setAttributes(program, owner).permissions == 0o755)
        #expect(try volume.setAttributes(lockable, owner).permissions == 0o2745)
        #expect(try volume.setAttributes(directory, owner).permissions == 0o6755)
        let other = try volume.create("other", permissions: 0o6755)
        #expect(try volume.setAttributes(other, AttributeChanges()).permissions == 0o755, "a chown that leaves both")
        #expect(try volume.setAttributes(directory, AttributeChanges()).permissions == 0o6755)
        let both = changes {
            $0.group = 9
            $0.permissions = 0o4711
        }
        #expect(try volume.setAttributes(program, both).permissions == 0o4711)
    }

    @Test("a write or a cut by anyone but root takes them off too", arguments: [0, 1000] as [UInt32])
    func write(user: UInt32) throws {
        let volume = try Volume()
        let written = try volume.create("written", permissions: 0o6755)
        let cut = try volume.create("cut", permissions: 0o6755)
        volume.user = user
        let expected: UInt16 = user == 0 ? 0o6755 : 0o755
        #expect(try volume.write(written, offset: 0, [1]).permissions == expected)
        #expect(try volume.truncate(cut, to: 1).permissions == expected)
    }

    @Test("times move as POSIX says")
    func times() throws {
        let volume = try Volume()
        let file = try volume.create("file")
        let created = volume.caller.now
        volume.now += 10
        let past = Timestamp(seconds: -5, nanoseconds: 999_999_999)
        var attributes = try volume.setAttributes(
            file,
            changes {
                $0.modified = past
                $0.accessed = past
            })
        #expect(attributes.modified == past && attributes.accessed == past)
        #expect(attributes.changed == volume.caller.now && attributes.created == created)
        volume.now += 10
        attributes = try volume.truncate(file, to: 0)
        #expect(attributes.modified == volume.caller.now && attributes.changed == volume.caller.now)
        volume.now += 10
        attributes = try volume.link(file, to: "second")
        #expect(attributes.changed == volume.caller.now && attributes.modified != volume.caller.now)
        #expect(try volume.attributes(rootInode).modified == volume.caller.now)
        let before = attributes
        #expect(try volume.setAttributes(file, AttributeChanges()) == before)
    }

    @Test("sizes go to 2^63 - 1 and no further")
    func sizes() throws {
        let volume = try Volume()
        let file = try volume.create("file")
        #expect(try volume.truncate(file, to: UInt64(Int64.max)).size == UInt64(Int64.max))
        #expect(throws: Errno.fileTooLarge) { try volume.truncate(file, to: UInt64(Int64.max) + 1) }
        #expect(throws: Errno.fileTooLarge) { try volume.truncate(file, to: .max) }
        #expect(try volume.write(file, offset: UInt64(Int64.max) - 3, [1, 2, 3]).size == UInt64(Int64.max))
        #expect(throws: Errno.fileTooLarge) { try volume.write(file, offset: UInt64(Int64.max) - 2, [1, 2, 3]) }
        #expect(try volume.contents(file, offset: UInt64(Int64.max) - 4, count: 100) == [0, 1, 2, 3])
        #expect(try volume.contents(file, offset: .max, count: 100) == [])
        #expect(try volume.check() == [])
        #expect(throws: Errno.isDirectory) { try volume.truncate(rootInode, to: 0) }
    }
}

@Suite("Extended attributes")
struct ExtendedAttributeTests {
    private let name = Array("user.name".utf8)

    private func set(
        _ volume: Volume, _ name: [UInt8], _ value: [UInt8], _ mode: ExtendedAttributeMode = .any
    ) throws(Errno) {
        try volume.run { (tree) throws(Interruption) in
            try tree.setExtendedAttribute(name, of: rootInode, to: value, mode: mode, by: volume.caller)
        }
    }

    private func get(_ volume: Volume, _ name: [UInt8]) throws(Errno) -> [UInt8] {
        try volume.read { (tree) throws(Interruption) in try tree.extendedAttribute(name, of: rootInode) }
    }

    private func list(_ volume: Volume) throws(Errno) -> [[UInt8]] {
        try volume.read { (tree) throws(Interruption) in try tree.extendedAttributes(of: rootInode) }
    }

    @Test("keep values of any size", arguments: [0, 1, 4095, 4096, 4097, 8192, 65535, 65536])
    func values(size: Int) throws {
        let volume = try Volume()
        var generator = SplitMix64(seed: 3)
        let value = generator.bytes(size)
        // Larger and smaller ones before, so that no piece of an old value stays.
        for other in [9000, 10, size] { try set(volume, name, generator.bytes(other)) }
        try set(volume, name, value)
        #expect(try get(volume, name) == value)
        #expect(try volume.check() == [])
        try volume.run { (tree) throws(Interruption) in
            try tree.removeExtendedAttribute(name, of: rootInode, by: volume.caller)
        }
        #expect(throws: Errno.noData) { try get(volume, name) }
        #expect(try list(volume) == [])
        #expect(try volume.check() == [])
    }

    @Test("follow XATTR_CREATE and XATTR_REPLACE, and move ctime")
    func modes() throws {
        let volume = try Volume()
        #expect(throws: Errno.noData) { try set(volume, name, [1], .replace) }
        try set(volume, name, [1], .create)
        #expect(throws: Errno.fileExists) { try set(volume, name, [2], .create) }
        volume.now += 5
        try set(volume, name, [3], .replace)
        #expect(try get(volume, name) == [3])
        #expect(try volume.attributes(rootInode).changed == volume.caller.now)
    }

    @Test("refuse what is too long or of a namespace that is not kept")
    func limits() throws {
        let volume = try Volume()
        for name in ["system.posix_acl_access", "system.posix_acl_default", "btrfs.x", "user.", "x"] {
            #expect(throws: Errno.notSupported) { try set(volume, Array(name.utf8), [1]) }
            #expect(throws: Errno.notSupported) { try get(volume, Array(name.utf8)) }
        }
        #expect(throws: Errno.outOfRange) { try set(volume, [], [1]) }
        #expect(throws: Errno.outOfRange) {
            try set(volume, Array("user.".utf8) + [UInt8](repeating: 97, count: 251), [])
        }
        #expect(throws: Errno.argListTooLong) { try set(volume, name, [UInt8](repeating: 0, count: 65537)) }
        for name in ["trusted.a", "security.capability", "user.\u{fc}"] { try set(volume, Array(name.utf8), [1]) }
        #expect(try list(volume).count == 3)
    }

    @Test("stop where their names would no longer fit a list")
    func names() throws {
        let volume = try Volume()
        let long = Array("user.".utf8) + [UInt8](repeating: 97, count: 247)
        for number in 0..<256 { try set(volume, long + Array(String(100 + number).utf8), []) }
        #expect(try list(volume).reduce(0) { $0 + $1.count + 1 } == 65536)
        #expect(throws: Errno.noSpace) { try set(volume, name, []) }
        #expect(try volume.check() == [])
    }

    @Test("go with the file, in batches when they are many")
    func removal() throws {
        let volume = try Volume()
        let file = try volume.create("file")
        for number in 0..<20 {
            try volume.run { (tree) throws(Interruption) in
                try tree.setExtendedAttribute(
                    Array("user.\(number)".utf8), of: file, to: [UInt8](repeating: 1, count: 30000), mode: .any,
                    by: volume.caller)
            }
        }
        try volume.unlink("file")
        #expect(try volume.check() == [])
        #expect(try volume.records().count > 2, "more than fits one transaction is left for later")
        try volume.reapAll()
        #expect(try volume.records().count == 2)
        #expect(try volume.check() == [])
    }
}
