import LanfsProtocol
import LanfsTree
import SystemPackage

// A value is cut into pieces that a tree node takes: piece 0 is version (1 byte), length of the value (4) and its first
// bytes, the others are bytes. Names in `user.`, `trusted.` and `security.` are taken as they are (the kernel checks
// who may); `system.` is the kernel's own, and POSIX access lists are not supported.

/// setxattr(2)'s flags.
public enum ExtendedAttributeMode: Sendable {
    case any
    /// XATTR_CREATE: `EEXIST` when it is there.
    case create
    /// XATTR_REPLACE: `ENODATA` when it is not.
    case replace
}

extension Transaction {
    /// Two looks, a write for the inode and one for each 4 KiB of the value.
    ///
    /// - Throws: `EOPNOTSUPP` for a namespace that is not kept, `ERANGE` for a long name, `E2BIG` for a long value,
    ///   `ENOSPC` when the names would no longer fit a list, and what `mode` says.
    public mutating func setExtendedAttribute(
        _ name: [UInt8], of inode: InodeNumber, to value: [UInt8], mode: ExtendedAttributeMode, by caller: Caller
    ) throws(Interruption) {
        try checkAttributeName(name)
        guard value.count <= FileSystemLimits.attributeValue else { throw .failed(.argListTooLong) }
        var record = try self.inode(inode)
        let old = try attributeHead(name, of: inode)
        if old == nil {
            guard mode != .replace else { throw .failed(.noData) }
            let names = Int(record.attributeNames) + name.count + 1
            guard names <= FileSystemLimits.attributeNames else { throw .failed(.noSpace) }
            record.attributeNames = UInt32(names)
        } else if mode == .create {
            throw .failed(.fileExists)
        }

        let pieces = AttributePieces(length: value.count)
        for piece in 0..<pieces.count {
            var writer = ByteWriter(reserving: AttributePieces.size + 5)
            if piece == 0 {
                writer.append(RecordVersion.current)
                writer.append(UInt32(value.count))
            }
            writer.append(raw: value[pieces.range(piece)])
            set(.attribute(inode, name: name, piece: UInt16(piece)), writer.bytes)
        }
        if let old {
            let oldCount = AttributePieces(length: old.length).count
            removePieces(pieces.count..<max(pieces.count, oldCount), of: name, inode)
        }
        record.attributes.changed = caller.now
        store(record)
    }

    /// The inode, and a look for each 4 KiB of the value.
    ///
    /// - Throws: `ENODATA` when there is none, `EOPNOTSUPP` for a namespace that is not kept.
    public func extendedAttribute(_ name: [UInt8], of inode: InodeNumber) throws(Interruption) -> [UInt8] {
        try checkAttributeName(name)
        guard try self.inode(inode).attributeNames > 0, let head = try attributeHead(name, of: inode) else {
            throw .failed(.noData)
        }
        var value = Array(head.first)
        value.reserveCapacity(head.length)
        let pieces = AttributePieces(length: head.length)
        for piece in 1..<max(1, pieces.count) {
            guard let bytes = try read(.attribute(inode, name: name, piece: UInt16(piece))) else {
                throw .failed(.ioError)
            }
            value.append(contentsOf: bytes)
        }
        guard value.count == head.length else { throw .failed(.ioError) }
        return value
    }

    /// The names, in the order of their bytes. The inode, and a scan over names and values.
    public func extendedAttributes(of inode: InodeNumber) throws(Interruption) -> [[UInt8]] {
        guard try self.inode(inode).attributeNames > 0 else { return [] }
        var names: [[UInt8]] = []
        try forEach(in: .attributes(of: inode)) { key, _ in
            if case .attribute(_, let name, 0)? = RecordKey(key) { names.append(name) }
            return true
        }
        return names
    }

    /// - Throws: `ENODATA` when there is none.
    public mutating func removeExtendedAttribute(
        _ name: [UInt8], of inode: InodeNumber, by caller: Caller
    ) throws(Interruption) {
        try checkAttributeName(name)
        var record = try self.inode(inode)
        guard let head = try attributeHead(name, of: inode) else { throw .failed(.noData) }
        removePieces(0..<AttributePieces(length: head.length).count, of: name, inode)
        record.attributeNames -= min(record.attributeNames, UInt32(name.count) + 1)
        record.attributes.changed = caller.now
        store(record)
    }

    /// Removes up to `limit` pieces of whatever names.
    ///
    /// - Returns: how many.
    mutating func removeAttributes(of inode: InodeNumber, limit: Int) throws(Interruption) -> Int {
        var keys: [Key] = []
        try forEach(in: .attributes(of: inode)) { key, _ in
            keys.append(key)
            return keys.count < limit
        }
        for key in keys { remove(key) }
        return keys.count
    }

    private mutating func removePieces(_ pieces: Range<Int>, of name: [UInt8], _ inode: InodeNumber) {
        for piece in pieces { remove(.attribute(inode, name: name, piece: UInt16(piece))) }
    }

    private func attributeHead(
        _ name: [UInt8], of inode: InodeNumber
    ) throws(Interruption) -> (length: Int, first: ArraySlice<UInt8>)? {
        guard let bytes = try read(.attribute(inode, name: name, piece: 0)) else { return nil }
        let length = try decoded { () throws(DecodingError) -> Int in
            var reader = ByteReader(bytes)
            try reader.version(of: "an extended attribute")
            let length = Int(try reader.integer(UInt32.self))
            guard length <= FileSystemLimits.attributeValue else {
                throw .tooLong(
                    what: "an extended attribute", length: length, limit: FileSystemLimits.attributeValue)
            }
            return length
        }
        return (length, bytes[5...])
    }
}

/// How a value is cut.
private struct AttributePieces {
    static let size = 4096
    let length: Int

    /// At least one, for the length.
    var count: Int { max(1, (length + Self.size - 1) / Self.size) }

    func range(_ piece: Int) -> Range<Int> { piece * Self.size..<min(length, (piece + 1) * Self.size) }
}

private let namespaces = ["user.", "trusted.", "security."].map { Array($0.utf8) }

private func checkAttributeName(_ name: [UInt8]) throws(Interruption) {
    guard !name.isEmpty, name.count <= FileSystemLimits.attributeName else { throw .failed(.outOfRange) }
    guard !name.contains(0), namespaces.contains(where: { name.starts(with: $0) && name.count > $0.count }) else {
        throw .failed(.notSupported)
    }
}
