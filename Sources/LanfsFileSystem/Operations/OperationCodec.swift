import LanfsProtocol

// A log that outlives its session lies on the client's own disk, sealed (SetAside).

extension OperationLog {
    /// Entries that one log can have when it is read.
    static let entryLimit = 1 << 24

    public func encoded() -> [UInt8] {
        var writer = ByteWriter(reserving: 64 * entries.count + 16)
        writer.append(RecordVersion.current)
        writer.append(list: entries) { $1.encode(into: &$0) }
        return writer.bytes
    }

    public init(decoding bytes: [UInt8]) throws(DecodingError) {
        var reader = ByteReader(bytes)
        try reader.version(of: "a log of operations")
        self.init(
            entries: try reader.list(minimum: 24, limit: Self.entryLimit) { (reader) throws(DecodingError) in
                try Entry(from: &reader)
            })
        try reader.finish()
    }
}

extension OperationLog.Entry {
    fileprivate func encode(into writer: inout ByteWriter) {
        writer.append(number)
        writer.append(caller.user)
        writer.append(caller.group)
        writer.append(caller.umask)
        writer.append(caller.now)
        writer.append(optional: before) { $1.encode(into: &$0) }
        operation.encode(into: &writer)
    }

    fileprivate init(from reader: inout ByteReader) throws(DecodingError) {
        number = try reader.integer()
        caller = Caller(
            user: try reader.integer(), group: try reader.integer(), umask: try reader.integer(), now: try reader.timestamp())
        before = try reader.optional { (reader) throws(DecodingError) in try ContentVersion(from: &reader) }
        operation = try Operation(from: &reader)
    }
}

extension Operation {
    private enum Code: UInt8 {
        case makeNode = 1, makeDirectory, makeSymlink, makeUnnamed, link, unlink, removeDirectory, rename, setAttributes
        case write, punch, setExtendedAttribute, removeExtendedAttribute
    }

    fileprivate func encode(into writer: inout ByteWriter) {
        switch self {
        case .makeNode(let place, let type, let permissions, let device, let inode):
            writer.append(Code.makeNode.rawValue)
            writer.append(place)
            writer.append(type.rawValue)
            writer.append(permissions)
            writer.append(device)
            writer.append(inode)
        case .makeDirectory(let place, let permissions, let inode):
            writer.append(Code.makeDirectory.rawValue)
            writer.append(place)
            writer.append(permissions)
            writer.append(inode)
        case .makeSymlink(let place, let target, let inode):
            writer.append(Code.makeSymlink.rawValue)
            writer.append(place)
            writer.append(prefixed: target)
            writer.append(inode)
        case .makeUnnamed(let parent, let permissions, let inode):
            writer.append(Code.makeUnnamed.rawValue)
            writer.append(parent)
            writer.append(permissions)
            writer.append(inode)
        case .link(let inode, let place):
            writer.append(Code.link.rawValue)
            writer.append(inode)
            writer.append(place)
        case .unlink(let place, let found):
            writer.append(Code.unlink.rawValue)
            writer.append(place)
            writer.append(found)
        case .removeDirectory(let place, let found):
            writer.append(Code.removeDirectory.rawValue)
            writer.append(place)
            writer.append(found)
        case .rename(let source, let moved, let target, let replaced, let mode):
            writer.append(Code.rename.rawValue)
            writer.append(source)
            writer.append(moved)
            writer.append(target)
            writer.append(optional: replaced) { $0.append($1) }
            writer.append(mode.rawValue)
        case .setAttributes(let inode, let changes):
            writer.append(Code.setAttributes.rawValue)
            writer.append(inode)
            changes.encode(into: &writer)
        case .write(let inode, let range):
            writer.append(Code.write.rawValue)
            writer.append(inode)
            writer.append(range)
        case .punch(let inode, let chunks):
            writer.append(Code.punch.rawValue)
            writer.append(inode)
            writer.append(chunks)
        case .setExtendedAttribute(let name, let inode, let value):
            writer.append(Code.setExtendedAttribute.rawValue)
            writer.append(prefixed: name)
            writer.append(inode)
            writer.append(prefixed: value)
        case .removeExtendedAttribute(let name, let inode):
            writer.append(Code.removeExtendedAttribute.rawValue)
            writer.append(prefixed: name)
            writer.append(inode)
        }
    }

    fileprivate init(from reader: inout ByteReader) throws(DecodingError) {
        guard let code = Code(rawValue: try reader.integer()) else { throw .invalid(what: "the kind of an operation") }
        switch code {
        case .makeNode:
            self = .makeNode(
                try reader.place(), try reader.inodeType(), permissions: try reader.integer(), device: try reader.integer(),
                try reader.integer())
        case .makeDirectory:
            self = .makeDirectory(try reader.place(), permissions: try reader.integer(), try reader.integer())
        case .makeSymlink:
            self = .makeSymlink(
                try reader.place(), target: try reader.prefixed(limit: FileSystemLimits.target), try reader.integer())
        case .makeUnnamed:
            self = .makeUnnamed(in: try reader.integer(), permissions: try reader.integer(), try reader.integer())
        case .link: self = .link(try reader.integer(), try reader.place())
        case .unlink: self = .unlink(try reader.place(), try reader.found())
        case .removeDirectory: self = .removeDirectory(try reader.place(), try reader.found())
        case .rename:
            let (source, moved) = (try reader.place(), try reader.found())
            let target = try reader.place()
            let replaced = try reader.optional { (reader) throws(DecodingError) in try reader.found() }
            guard let mode = RenameMode(rawValue: try reader.integer()) else { throw .invalid(what: "a way to rename") }
            self = .rename(source, moved, to: target, replaced, mode)
        case .setAttributes: self = .setAttributes(try reader.integer(), try AttributeChanges(from: &reader))
        case .write: self = .write(try reader.integer(), try reader.range())
        case .punch: self = .punch(try reader.integer(), try reader.range())
        case .setExtendedAttribute:
            self = .setExtendedAttribute(
                try reader.prefixed(limit: FileSystemLimits.name), try reader.integer(), value: try reader.prefixed(limit: 1 << 16))
        case .removeExtendedAttribute:
            self = .removeExtendedAttribute(try reader.prefixed(limit: FileSystemLimits.name), try reader.integer())
        }
    }
}

extension ContentVersion {
    fileprivate func encode(into writer: inout ByteWriter) {
        writer.append(modified)
        writer.append(size)
        writer.append(generation)
    }

    fileprivate init(from reader: inout ByteReader) throws(DecodingError) {
        self.init(modified: try reader.timestamp(), size: try reader.integer(), generation: try reader.integer())
    }
}

extension AttributeChanges {
    fileprivate func encode(into writer: inout ByteWriter) {
        writer.append(optional: permissions) { $0.append($1) }
        writer.append(optional: user) { $0.append($1) }
        writer.append(optional: group) { $0.append($1) }
        writer.append(optional: size) { $0.append($1) }
        for time in [accessed, modified, changed] { writer.append(optional: time) { $0.append($1) } }
    }

    fileprivate init(from reader: inout ByteReader) throws(DecodingError) {
        self.init()
        permissions = try reader.optional { (reader) throws(DecodingError) in try reader.integer() }
        user = try reader.optional { (reader) throws(DecodingError) in try reader.integer() }
        group = try reader.optional { (reader) throws(DecodingError) in try reader.integer() }
        size = try reader.optional { (reader) throws(DecodingError) in try reader.integer() }
        accessed = try reader.optional { (reader) throws(DecodingError) in try reader.timestamp() }
        modified = try reader.optional { (reader) throws(DecodingError) in try reader.timestamp() }
        changed = try reader.optional { (reader) throws(DecodingError) in try reader.timestamp() }
    }
}

extension ByteWriter {
    fileprivate mutating func append(_ place: Place) {
        append(place.parent)
        append(prefixed: place.name)
    }

    fileprivate mutating func append(_ found: Found) {
        append(found.inode)
        found.version.encode(into: &self)
    }

    fileprivate mutating func append(_ range: Range<UInt64>) {
        append(range.lowerBound)
        append(range.upperBound)
    }
}

extension ByteReader {
    fileprivate mutating func place() throws(DecodingError) -> Place {
        let parent: InodeNumber = try integer()
        return Place(try prefixed(limit: FileSystemLimits.name), in: parent)
    }

    fileprivate mutating func found() throws(DecodingError) -> Found {
        Found(inode: try integer(), version: try ContentVersion(from: &self))
    }

    fileprivate mutating func range() throws(DecodingError) -> Range<UInt64> {
        let (start, end): (UInt64, UInt64) = (try integer(), try integer())
        guard start <= end else { throw .invalid(what: "a range that ends before it begins") }
        return start..<end
    }
}
