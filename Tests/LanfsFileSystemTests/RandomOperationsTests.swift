import LanfsFileSystem
import SystemPackage
import TestSupport
import Testing

@Suite("Random operations")
struct RandomOperationsTests {
    @Test("give what an independent model of POSIX gives, errors included", arguments: 1...6)
    func equalTheModel(seed: UInt64) throws {
        var session = try Session(seed: seed, forgetfulness: 0)
        try session.run(operations: 5000, comparingEvery: 1000)
    }

    @Test("give the same when tree nodes are missing at any moment", arguments: 11...14)
    func surviveMissingNodes(seed: UInt64) throws {
        var session = try Session(seed: seed, forgetfulness: 20)
        try session.run(operations: 1500, comparingEvery: 500)
        #expect(session.volume.missing > 500)
    }
}

/// One seeded run of a volume and the model side by side.
struct Session {
    let seed: UInt64
    let volume: Volume
    let model: PosixModel
    private var generator: SplitMix64
    private var numbers: [InodeNumber] = [rootInode]
    private let forgetfulness: Int

    init(seed: UInt64, forgetfulness: Int) throws {
        self.seed = seed
        self.forgetfulness = forgetfulness
        volume = try Volume(shape: .tiny, seed: seed)
        volume.forgetfulness = forgetfulness
        volume.doubt = 10
        model = PosixModel(volume.caller)
        generator = SplitMix64(seed: seed)
    }

    mutating func run(operations: Int, comparingEvery interval: Int) throws {
        for step in 1...operations {
            volume.now += 1
            volume.user = generator.chance(50) ? 0 : UInt32(1000 + generator.below(2))
            let (what, expected, found) = try operation()
            try #require(expected == found, "seed \(seed), step \(step): \(what)")
            if forgetfulness > 0, step % 50 == 0 { try volume.checkpoint() }
            if step % interval == 0 { try compareAll("seed \(seed), step \(step)") }
        }
        try volume.reapAll()
        try compareAll("seed \(seed), reaped")
    }

    /// What an operation came to: attributes, bytes, or only that it went well.
    enum Answer: Equatable {
        case failed(Errno)
        case done
        case attributes(Attributes)
        case bytes([UInt8])
        case names([[UInt8]])
    }

    private func answer(_ body: () throws(Errno) -> Answer) -> Answer {
        do { return try body() } catch { return .failed(error) }
    }

    /// `allocated` depends on how contents are kept: `check()` knows it, the model does not.
    private func shown(_ attributes: Attributes) -> Answer {
        var attributes = attributes
        attributes.allocated = 0
        return .attributes(attributes)
    }

    // MARK: Arguments

    private mutating func name() -> [UInt8] {
        switch generator.below(60) {
        case 0: [UInt8](repeating: 120, count: 255 + generator.below(2))
        case 1: generator.pick([[], [46], [46, 46], [97, 47], [97, 0]])
        default: [UInt8(97 + generator.below(7))]
        }
    }

    /// Mostly directories that are there, at times anything that ever was.
    private mutating func parent() -> InodeNumber {
        if generator.chance(4) { return generator.pick(numbers) }
        for _ in 0..<8 {
            let number = generator.pick(numbers)
            if model.nodes[number]?.isDirectory == true { return number }
        }
        return rootInode
    }

    private mutating func anyInode() -> InodeNumber {
        for _ in 0..<3 {
            let number = generator.pick(numbers)
            if model.nodes[number] != nil { return number }
        }
        return generator.pick(numbers)
    }

    private mutating func newNumber() throws(Errno) -> InodeNumber {
        let number = try volume.nextNumber()
        numbers.append(number)
        // Long dead numbers are of no interest.
        if numbers.count > 400 { numbers.removeAll { $0 != number && model.nodes[$0] == nil } }
        return number
    }

    // MARK: Operations

    private mutating func operation() throws(Errno) -> (String, Answer, Answer) {
        switch generator.below(100) {
        case 0..<32: try makeSomething()
        case 32..<48: removeSomething()
        case 48..<64: rename()
        case 64..<70: link()
        case 70..<78: setAttributes()
        case 78..<86: write()
        case 86..<90: read()
        case 90..<95: extendedAttribute()
        default: openOrClose()
        }
    }

    private mutating func makeSomething() throws(Errno) -> (String, Answer, Answer) {
        let (volume, model) = (volume, model)
        let (name, parent, caller) = (name(), parent(), volume.caller)
        let number = try newNumber()
        let permissions = UInt16(generator.below(0o10000))
        let target = generator.bytes(1 + generator.below(20)).map { $0 | 1 }
        let types: [InodeType] = [.regular, .regular, .regular, .fifo, .characterDevice]
        switch generator.below(10) {
        case 0..<4:
            return (
                "mkdir \(parent)/\(name)",
                answer { () throws(Errno) in
                    shown(try model.make(name, parent, .directory, permissions, number, caller))
                },
                answer { () throws(Errno) in
                    shown(
                        try volume.run { (tree) throws(Interruption) in
                            try tree.makeDirectory(
                                name, in: parent, permissions: permissions, inode: number, by: caller)
                        })
                }
            )
        case 4:
            return (
                "symlink \(parent)/\(name)",
                answer { () throws(Errno) in
                    shown(try model.make(name, parent, .symlink, 0o777, number, caller, data: target))
                },
                answer { () throws(Errno) in
                    shown(
                        try volume.run { (tree) throws(Interruption) in
                            try tree.makeSymlink(name, in: parent, to: target, inode: number, by: caller)
                        })
                }
            )
        case 5:
            volume.open.insert(number)
            return (
                "tmpfile in \(parent)",
                answer { () throws(Errno) in shown(try model.makeUnnamed(parent, permissions, number, caller)) },
                answer { () throws(Errno) in
                    shown(
                        try volume.run { (tree) throws(Interruption) in
                            try tree.createUnnamed(
                                in: parent, permissions: permissions, inode: number, by: caller,
                                incarnation: volume.incarnation)
                        })
                }
            )
        default:
            let type = generator.pick(types)
            let device: UInt32 = type == .characterDevice ? 77 : 0
            return (
                "mknod \(parent)/\(name)",
                answer { () throws(Errno) in
                    shown(try model.make(name, parent, type, permissions, number, caller, device: device))
                },
                answer { () throws(Errno) in
                    shown(
                        try volume.run { (tree) throws(Interruption) in
                            try tree.makeNode(
                                name, in: parent, type: type, permissions: permissions, device: device, inode: number,
                                by: caller)
                        })
                }
            )
        }
    }

    private mutating func removeSomething() -> (String, Answer, Answer) {
        let (volume, model) = (volume, model)
        let (name, parent, caller) = (name(), parent(), volume.caller)
        if generator.chance(60) {
            return (
                "unlink \(parent)/\(name)",
                answer { () throws(Errno) in
                    try model.unlink(name, parent, caller)
                    return .done
                },
                answer { () throws(Errno) in
                    try volume.run { (tree) throws(Interruption) in
                        _ = try tree.unlink(
                            name, in: parent, by: caller, incarnation: volume.incarnation, isOpen: volume.open.contains)
                    }
                    return .done
                }
            )
        }
        return (
            "rmdir \(parent)/\(name)",
            answer { () throws(Errno) in
                try model.removeDirectory(name, parent, caller)
                return .done
            },
            answer { () throws(Errno) in
                try volume.run { (tree) throws(Interruption) in
                    _ = try tree.removeDirectory(
                        name, in: parent, by: caller, incarnation: volume.incarnation, isOpen: volume.open.contains)
                }
                return .done
            }
        )
    }

    private mutating func rename() -> (String, Answer, Answer) {
        let (volume, model) = (volume, model)
        let (name, parent, caller) = (name(), parent(), volume.caller)
        let newName = self.name()
        let newParent = generator.chance(40) ? parent : self.parent()
        let mode = generator.pick([RenameMode.replace, .replace, .replace, .noReplace, .exchange])
        return (
            "rename \(parent)/\(name) to \(newParent)/\(newName), \(mode)",
            answer { () throws(Errno) in
                try model.rename(name, parent, newName, newParent, mode, caller)
                return .done
            },
            answer { () throws(Errno) in
                try volume.run { (tree) throws(Interruption) in
                    _ = try tree.rename(
                        name, in: parent, to: newName, in: newParent, mode: mode, by: caller,
                        incarnation: volume.incarnation, isOpen: volume.open.contains)
                }
                return .done
            }
        )
    }

    private mutating func link() -> (String, Answer, Answer) {
        let (volume, model) = (volume, model)
        let (name, parent, inode, caller) = (name(), parent(), anyInode(), volume.caller)
        return (
            "link \(inode) to \(parent)/\(name)",
            answer { () throws(Errno) in shown(try model.link(inode, name, parent, caller)) },
            answer { () throws(Errno) in
                shown(
                    try volume.run { (tree) throws(Interruption) in
                        try tree.link(inode, to: name, in: parent, by: caller, incarnation: volume.incarnation)
                    })
            }
        )
    }

    private mutating func setAttributes() -> (String, Answer, Answer) {
        let (volume, model) = (volume, model)
        let (inode, caller) = (anyInode(), volume.caller)
        var changes = AttributeChanges()
        if generator.chance(30) { changes.permissions = UInt16(generator.below(0o10000)) }
        if generator.chance(20) { changes.user = UInt32(generator.below(3)) }
        if generator.chance(20) { changes.group = UInt32(generator.below(3)) }
        if generator.chance(30) { changes.size = UInt64(generator.below(generator.chance(20) ? 150_000 : 3000)) }
        if generator.chance(20) {
            changes.accessed = Timestamp(seconds: Int64(generator.below(100)) - 50, nanoseconds: 9)
        }
        if generator.chance(20) {
            changes.modified = Timestamp(seconds: Int64(generator.below(100)) - 50, nanoseconds: 8)
        }
        let wanted = changes
        return (
            "setattr \(inode) \(changes)",
            answer { () throws(Errno) in shown(try model.setAttributes(inode, wanted, caller)) },
            answer { () throws(Errno) in shown(try volume.setAttributes(inode, wanted)) }
        )
    }

    private mutating func write() -> (String, Answer, Answer) {
        let (volume, model) = (volume, model)
        let (inode, caller) = (anyInode(), volume.caller)
        let isLarge = generator.chance(15)
        let offset = generator.below(isLarge ? 120_000 : 1500)
        let bytes = [UInt8](repeating: UInt8(generator.below(256)), count: generator.below(isLarge ? 70_000 : 700))
        return (
            "write \(bytes.count) to \(inode) at \(offset)",
            answer { () throws(Errno) in shown(try model.write(inode, offset, bytes, caller)) },
            answer { () throws(Errno) in shown(try volume.write(inode, offset: UInt64(offset), bytes)) }
        )
    }

    private mutating func read() -> (String, Answer, Answer) {
        let (volume, model) = (volume, model)
        let (inode, name, parent) = (anyInode(), name(), parent())
        let (offset, count) = (generator.below(100_000), generator.below(40_000))
        switch generator.below(3) {
        case 0:
            return (
                "read \(count) of \(inode) at \(offset)",
                answer { () throws(Errno) in .bytes(Array(try model.file(inode).data.dropFirst(offset).prefix(count)))
                },
                answer { () throws(Errno) in
                    .bytes(try volume.contents(inode, offset: UInt64(offset), count: count))
                }
            )
        case 1 where name != [46] && name != [46, 46]:
            return (
                "lookup \(parent)/\(name)",
                answer { () throws(Errno) in shown(try model.lookup(name, parent)) },
                answer { () throws(Errno) in
                    shown(try volume.read { (tree) throws(Interruption) in try tree.lookup(name, in: parent) })
                }
            )
        default:
            return (
                "readdir \(parent)",
                answer { () throws(Errno) in .names(try model.directory(parent).children.keys.sorted(by: isBefore)) },
                answer { () throws(Errno) in
                    .names(
                        try volume.read { (tree) throws(Interruption) in try tree.entries(of: parent, limit: 1000) }
                            .map(\.name))
                }
            )
        }
    }

    private mutating func extendedAttribute() -> (String, Answer, Answer) {
        let (volume, model) = (volume, model)
        let (inode, caller) = (anyInode(), volume.caller)
        let name = Array("user.".utf8) + [UInt8(97 + generator.below(3))]
        let value = [UInt8](repeating: UInt8(generator.below(256)), count: generator.pick([0, 1, 40, 4096, 9000]))
        let mode = generator.pick([ExtendedAttributeMode.any, .any, .create, .replace])
        switch generator.below(4) {
        case 0, 1:
            return (
                "setxattr \(inode) \(mode)",
                answer { () throws(Errno) in
                    try model.setExtended(name, inode, value, mode, caller)
                    return .done
                },
                answer { () throws(Errno) in
                    try volume.run { (tree) throws(Interruption) in
                        try tree.setExtendedAttribute(name, of: inode, to: value, mode: mode, by: caller)
                    }
                    return .done
                }
            )
        case 2:
            return (
                "removexattr \(inode)",
                answer { () throws(Errno) in
                    try model.removeExtended(name, inode, caller)
                    return .done
                },
                answer { () throws(Errno) in
                    try volume.run { (tree) throws(Interruption) in
                        try tree.removeExtendedAttribute(name, of: inode, by: caller)
                    }
                    return .done
                }
            )
        default:
            return (
                "getxattr \(inode)",
                answer { () throws(Errno) in .bytes(try model.extended(name, inode)) },
                answer { () throws(Errno) in
                    .bytes(
                        try volume.read { (tree) throws(Interruption) in
                            try tree.extendedAttribute(name, of: inode)
                        })
                }
            )
        }
    }

    private mutating func openOrClose() -> (String, Answer, Answer) {
        let (volume, model) = (volume, model)
        let inode = anyInode()
        if !model.open.isEmpty, generator.chance(60) {
            let number = model.open.sorted()[generator.below(model.open.count)]
            model.close(number)
            return (
                "close \(number)", .done,
                answer { () throws(Errno) in
                    try volume.release(number)
                    return .done
                }
            )
        }
        if generator.chance(20) {
            return (
                "reap", .done,
                answer { () throws(Errno) in
                    _ = try volume.run { (tree) throws(Interruption) in try tree.reapTrimmed(limit: 3) }
                    return .done
                }
            )
        }
        if model.nodes[inode] != nil {
            model.open.insert(inode)
            volume.open.insert(inode)
        }
        return ("open \(inode)", .done, .done)
    }

    // MARK: Comparing

    private func compareAll(_ moment: String) throws {
        let damage = try volume.check()
        #expect(damage.isEmpty, "\(moment): \(damage)")
        #expect(try volume.read { (tree) throws(Interruption) in try tree.superblock() }.files == model.nodes.count)
        for (number, node) in model.nodes {
            let isEqual = shown(try volume.attributes(number)) == shown(node.attributes)
            try #require(isEqual, "\(moment): attributes of \(number)")
            switch node.type {
            case .regular:
                try #require(try volume.contents(number) == node.data, "\(moment): contents of \(number)")
            case .symlink:
                let target = try volume.read { (tree) throws(Interruption) in try tree.readLink(number) }
                try #require(target == node.data, "\(moment): target of \(number)")
            case .directory:
                let entries = try volume.read { (tree) throws(Interruption) in
                    try tree.entries(of: number, limit: .max)
                }
                let expected = node.children.sorted { isBefore($0.key, $1.key) }.map {
                    DirectoryEntry(name: $0.key, inode: $0.value.number, type: $0.value.type)
                }
                try #require(entries == expected, "\(moment): entries of \(number)")
            default: break
            }
            let names = try volume.read { (tree) throws(Interruption) in try tree.extendedAttributes(of: number) }
            try #require(names == node.extended.keys.sorted(by: isBefore), "\(moment): xattrs of \(number)")
        }
    }
}

func isBefore(_ left: [UInt8], _ right: [UInt8]) -> Bool { left.lexicographicallyPrecedes(right) }
