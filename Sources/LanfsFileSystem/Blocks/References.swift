import LanfsProtocol
import LanfsTree

/// The block that a record of the tree refers to, `nil` for one that refers to none. Usage counts and dead lists name
/// blocks without referring to them.
///
/// - Throws: for a record that this version does not know or cannot read: it may refer to a block, so an audit must end
///   there (G4).
public func blockReferred(by key: Key, _ value: [UInt8]) throws(DecodingError) -> BlockID? {
    guard let record = RecordKey(key) else { throw .invalid(what: "a record of the tree") }
    guard case .extent = record else { return nil }
    return try Extent(decoding: value).frames.block
}

/// A run of a file's chunks as a walk over the tree finds it; `nil` for any other record.
public func runOfFile(_ key: Key, _ value: [UInt8]) -> (place: ExtentPlace, extent: Extent)? {
    guard case .extent(let inode, let generation, let chunk)? = RecordKey(key), let extent = try? Extent(decoding: value)
    else { return nil }
    return (ExtentPlace(inode: inode, generation: generation, firstChunk: chunk), extent)
}

extension BlockUsage {
    /// What a change says of a block's usage; `nil` when it is about something else. `usage` is `nil` for a block that
    /// is gone.
    public static func noted(by key: Key, _ value: [UInt8]?) -> (block: BlockID, usage: BlockUsage?)? {
        guard key.bytes.first == RecordKey.Kind.usage.rawValue, case .usage(let block)? = RecordKey(key) else { return nil }
        return (block, value.flatMap { try? BlockUsage(decoding: $0) })
    }

    /// Worth giving the rest a place elsewhere, so that the whole block can go.
    public var isMostlyDead: Bool { UInt64(live) * 2 <= UInt64(total) }
}

extension Transaction {
    /// The run that is still at `place` and still part of its file.
    public func run(at place: ExtentPlace) throws(Interruption) -> Extent? {
        guard let value = try read(.inode(place.inode)) else { return nil }
        let record = try decoded { () throws(DecodingError) in try InodeRecord(decoding: value, of: place.inode) }
        guard record.generation == place.generation,
            let bytes = try read(.extent(place.inode, generation: place.generation, chunk: place.firstChunk))
        else { return nil }
        return try decoded { () throws(DecodingError) in try Extent(decoding: bytes) }
    }

    /// Makes the next checkpoint store the nodes on the way to the first record at or above `key` anew.
    public mutating func renewNodes(above key: Key) throws(Interruption) {
        let found: (key: Key, value: [UInt8])?
        do throws(MissingNode) {
            found = try next(from: key, below: Key([0xff]))
        } catch {
            throw .missing(error)
        }
        if let found { set(found.key, found.value) }
    }

    /// A sweep took these blocks, which nothing refers to: what was counted of them was wrong.
    public mutating func forgetUsage(of blocks: [BlockID]) throws(Interruption) {
        for block in blocks where try read(.usage(block)) != nil { remove(.usage(block)) }
    }
}
