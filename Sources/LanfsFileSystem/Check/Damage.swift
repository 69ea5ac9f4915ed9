import LanfsTree

/// Something in a volume's tree that no sequence of operations makes.
public struct Damage: Error, Equatable, Sendable {
    /// Where, in the words of the keys: `inode 12`, `entry 1/name`.
    public let place: String
    public let what: String
}

extension Damage: CustomStringConvertible {
    public var description: String { "\(place): \(what)" }
}

extension RecordKey: CustomStringConvertible {
    public var description: String {
        switch self {
        case .superblock: "superblock"
        case .inode(let inode): "inode \(inode)"
        case .entry(let parent, let name): "entry \(parent)/\(String(decoding: name, as: UTF8.self))"
        case .extent(let inode, let generation, let chunk): "extent \(inode)/\(generation)/\(chunk)"
        case .attribute(let inode, let name, let piece):
            "xattr \(inode)/\(String(decoding: name, as: UTF8.self))/\(piece)"
        case .orphan(let incarnation, let inode): "orphan \(incarnation)/\(inode)"
        case .trim(let inode, let generation): "trim \(inode)/\(generation)"
        case .usage(let block): "usage \(block)"
        case .dead(let sequence, let block): "dead \(sequence)/\(block)"
        case .pinnedRoot(let sequence, let hash): "pinned root \(sequence)/\(hash)"
        case .recovery(let id): "recovery \(id)"
        case .conflict(let inode): "conflict \(inode)"
        case .lock(let place, _, let owner): "a lock of session \(owner.session) on inode \(place.inode)"
        case .lockRequest(let ticket, let session): "lock request \(ticket) of session \(session)"
        }
    }
}
