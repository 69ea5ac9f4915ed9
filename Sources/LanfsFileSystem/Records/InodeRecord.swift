import LanfsProtocol

// version (1 byte), type (1), flags (1), permissions (2), link count (4), user (4), group (4), created (12), then
// changed, modified and accessed (12 each, left out when equal to the one before), names of extended attributes (4, if
// any), then by type: regular: size (8), allocated (8), generation (4, unless 0), inline contents (the rest);
// directory: entries (8), parent (8); symlink: target (the rest); device: number (4).

/// All of one inode but its entries, its extents and its extended attributes.
public struct InodeRecord: Equatable, Sendable {
    /// `size` is the number of entries in a directory, the length of the target in a symlink.
    public var attributes: Attributes
    /// A regular file: its first bytes, in place of a run that covers chunk 0; zeros follow up to the chunk's end.
    /// A symlink: the target.
    public var inline: [UInt8]
    /// A directory: the one it is in; the root is in itself.
    public var parent: InodeNumber
    /// A regular file: whose extents count (``RecordKey/extent(_:generation:chunk:)``).
    public var generation: UInt32
    /// Bytes of the names of its extended attributes, a NUL after each.
    public var attributeNames: UInt32

    public init(
        attributes: Attributes, inline: [UInt8] = [], parent: InodeNumber = 0, generation: UInt32 = 0,
        attributeNames: UInt32 = 0
    ) {
        self.attributes = attributes
        self.inline = inline
        self.parent = parent
        self.generation = generation
        self.attributeNames = attributeNames
    }

    private struct Flags: OptionSet {
        let rawValue: UInt8
        static let changedAsCreated = Flags(rawValue: 1)
        static let modifiedAsChanged = Flags(rawValue: 2)
        static let accessedAsModified = Flags(rawValue: 4)
        static let hasAttributes = Flags(rawValue: 8)
        static let hasGeneration = Flags(rawValue: 16)
        static let known: UInt8 = 31
    }

    public func encoded() -> [UInt8] {
        var flags: Flags = []
        if attributes.changed == attributes.created { flags.insert(.changedAsCreated) }
        if attributes.modified == attributes.changed { flags.insert(.modifiedAsChanged) }
        if attributes.accessed == attributes.modified { flags.insert(.accessedAsModified) }
        if attributeNames != 0 { flags.insert(.hasAttributes) }
        if generation != 0 { flags.insert(.hasGeneration) }

        var writer = ByteWriter(reserving: 96 + inline.count)
        writer.append(RecordVersion.current)
        writer.append(attributes.type.rawValue)
        writer.append(flags.rawValue)
        writer.append(attributes.permissions)
        writer.append(attributes.linkCount)
        writer.append(attributes.user)
        writer.append(attributes.group)
        writer.append(attributes.created)
        if !flags.contains(.changedAsCreated) { writer.append(attributes.changed) }
        if !flags.contains(.modifiedAsChanged) { writer.append(attributes.modified) }
        if !flags.contains(.accessedAsModified) { writer.append(attributes.accessed) }
        if flags.contains(.hasAttributes) { writer.append(attributeNames) }
        switch attributes.type {
        case .regular:
            writer.append(attributes.size)
            writer.append(attributes.allocated)
            if flags.contains(.hasGeneration) { writer.append(generation) }
            writer.append(raw: inline)
        case .directory:
            writer.append(attributes.size)
            writer.append(parent)
        case .symlink:
            writer.append(raw: inline)
        case .characterDevice, .blockDevice:
            writer.append(attributes.device)
        case .fifo, .socket:
            break
        }
        return writer.bytes
    }

    public init(decoding bytes: [UInt8], of inode: InodeNumber) throws(DecodingError) {
        var reader = ByteReader(bytes)
        try reader.version(of: "an inode")
        let type = try reader.inodeType()
        let rawFlags: UInt8 = try reader.integer()
        guard rawFlags & ~Flags.known == 0 else { throw .invalid(what: "an inode's flags") }
        let flags = Flags(rawValue: rawFlags)

        let permissions: UInt16 = try reader.integer()
        let linkCount: UInt32 = try reader.integer()
        let user: UInt32 = try reader.integer()
        let group: UInt32 = try reader.integer()
        let created = try reader.timestamp()
        let changed = flags.contains(.changedAsCreated) ? created : try reader.timestamp()
        let modified = flags.contains(.modifiedAsChanged) ? changed : try reader.timestamp()
        let accessed = flags.contains(.accessedAsModified) ? modified : try reader.timestamp()
        attributeNames = flags.contains(.hasAttributes) ? try reader.integer() : 0

        attributes = Attributes(
            inode: inode, type: type, permissions: permissions, linkCount: linkCount, user: user, group: group,
            device: 0, size: 0, allocated: 0, accessed: accessed, modified: modified, changed: changed,
            created: created)
        inline = []
        parent = 0
        generation = 0
        guard type == .regular || !flags.contains(.hasGeneration) else { throw .invalid(what: "an inode's flags") }
        switch type {
        case .regular:
            attributes.size = try reader.integer()
            attributes.allocated = try reader.integer()
            if flags.contains(.hasGeneration) { generation = try reader.integer() }
            inline = try Self.rest(&reader, limit: FileSystemLimits.inlineContents, "a file's inline contents")
            guard attributes.size <= FileSystemLimits.fileSize, UInt64(inline.count) <= attributes.size,
                UInt64(inline.count) <= attributes.allocated
            else { throw .invalid(what: "a file's size") }
        case .directory:
            attributes.size = try reader.integer()
            parent = try reader.integer()
        case .symlink:
            inline = try Self.rest(&reader, limit: FileSystemLimits.target, "a symbolic link's target")
            attributes.size = UInt64(inline.count)
        case .characterDevice, .blockDevice:
            attributes.device = try reader.integer()
        case .fifo, .socket:
            break
        }
        try reader.finish()
    }

    private static func rest(_ reader: inout ByteReader, limit: Int, _ what: String) throws(DecodingError) -> [UInt8] {
        guard reader.remaining <= limit else { throw .tooLong(what: what, length: reader.remaining, limit: limit) }
        return try reader.raw(reader.remaining)
    }
}
