import LanfsTree

/// A name in a directory.
public struct Place: Hashable, Sendable {
    public var parent: InodeNumber
    public var name: [UInt8]

    public init(_ name: [UInt8], in parent: InodeNumber) {
        self.parent = parent
        self.name = name
    }
}

/// What a file's contents were, as far as that shows without reading them. Two versions that are equal may differ only if
/// somebody changed bytes within the same size and then set the old time again.
public struct ContentVersion: Equatable, Sendable {
    var modified: Timestamp
    var size: UInt64
    var generation: UInt32
}

/// An inode that an operation met behind a name.
public struct Found: Equatable, Sendable {
    public var inode: InodeNumber
    public var version: ContentVersion
}

/// What an operation changed, as data: enough to do the same again on another root (T1, L6). Numbers of new inodes are part
/// of it: they are this client's for good (T4).
public enum Operation: Equatable, Sendable {
    /// A file, fifo, socket or device.
    case makeNode(Place, InodeType, permissions: UInt16, device: UInt32, InodeNumber)
    case makeDirectory(Place, permissions: UInt16, InodeNumber)
    case makeSymlink(Place, target: [UInt8], InodeNumber)
    case makeUnnamed(in: InodeNumber, permissions: UInt16, InodeNumber)
    case link(InodeNumber, Place)
    case unlink(Place, Found)
    case removeDirectory(Place, Found)
    case rename(Place, Found, to: Place, Found?, RenameMode)
    case setAttributes(InodeNumber, AttributeChanges)
    /// Bytes of this range; what they are is in the tree, or not sealed yet.
    case write(InodeNumber, Range<UInt64>)
    /// A hole of whole chunks.
    case punch(InodeNumber, Range<UInt64>)
    case setExtendedAttribute([UInt8], InodeNumber, value: [UInt8])
    case removeExtendedAttribute([UInt8], InodeNumber)

    /// Whose contents it changes.
    var contents: InodeNumber? {
        switch self {
        case .write(let inode, _), .punch(let inode, _): inode
        case .setAttributes(let inode, let changes) where changes.size != nil: inode
        default: nil
        }
    }

    /// Whose version it changes, by which it is told afterwards whether somebody else changed the contents.
    var versioned: InodeNumber? {
        if case .setAttributes(let inode, let changes) = self, changes.modified != nil { return inode }
        return contents
    }
}

/// Operations that are acknowledged and not known to be in a chosen root, in order.
public struct OperationLog: Sendable {
    public struct Entry: Equatable, Sendable {
        /// A commit covers the operations up to a number.
        public var number: UInt64
        public var operation: Operation
        public var caller: Caller
        /// Of the inode whose version it changes, as it was before; `nil` when an earlier entry of the same commit says so.
        public var before: ContentVersion?
    }

    public private(set) var entries: [Entry] = []
    /// Whose versions the next commit changes.
    private var changed: Set<InodeNumber> = []
    /// The last entry belongs to the next commit.
    private var isOpen = false

    public init() {}

    init(entries: [Entry]) { self.entries = entries }

    /// The entries after operation `committed`, up to `kept`, numbered anew in the same order, from after operation `last` on.
    public func continued(after committed: UInt64, upTo kept: UInt64, as last: UInt64) -> OperationLog {
        OperationLog(
            entries: entries.filter { $0.number > committed && $0.number <= kept }.enumerated().map { index, entry in
                var entry = entry
                entry.number = last + UInt64(index) + 1
                return entry
            })
    }

    /// A change of this file's contents, or of their time, has to say what its version was before.
    public func needsVersion(of inode: InodeNumber) -> Bool { !changed.contains(inode) }

    public mutating func append(
        _ operation: Operation, number: UInt64, by caller: Caller, before: ContentVersion? = nil
    ) {
        if let inode = operation.versioned { changed.insert(inode) }
        if isOpen, before == nil, extend(with: operation, number, caller) { return }
        entries.append(Entry(number: number, operation: operation, caller: caller, before: before))
        isOpen = true
    }

    /// A stream of writes is one.
    private mutating func extend(with operation: Operation, _ number: UInt64, _ caller: Caller) -> Bool {
        guard case .write(let inode, let range) = operation, let last = entries.last,
            case .write(inode, let before) = last.operation, last.caller.user == caller.user,
            range.lowerBound <= before.upperBound, before.lowerBound <= range.upperBound
        else { return false }
        let whole = min(before.lowerBound, range.lowerBound)..<max(before.upperBound, range.upperBound)
        entries[entries.count - 1].operation = .write(inode, whole)
        entries[entries.count - 1].number = number
        entries[entries.count - 1].caller = caller
        return true
    }

    /// A commit was cut: what comes next is in another.
    public mutating func cut() {
        isOpen = false
        changed = []
    }

    /// The operations up to `number` are in a chosen root.
    public mutating func forget(through number: UInt64) {
        entries.removeSubrange(..<(entries.firstIndex { $0.number > number } ?? entries.count))
        if entries.isEmpty { isOpen = false }
    }
}

extension InodeRecord {
    var version: ContentVersion {
        ContentVersion(modified: attributes.modified, size: attributes.size, generation: generation)
    }
}

extension Transaction {
    public func version(of inode: InodeNumber) throws(Interruption) -> ContentVersion { try self.inode(inode).version }

    /// What is behind a name; `nil` when nothing is.
    public func find(_ place: Place) throws(Interruption) -> Found? {
        guard let entry = try entry(place.name, in: place.parent) else { return nil }
        return Found(inode: entry.inode, version: try version(of: entry.inode))
    }
}
