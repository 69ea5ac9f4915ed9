import LanfsCrypto
import LanfsProtocol

/// Who the members of a volume are, and where they may be reached: the newest record that this server was shown, and
/// addresses, which are hints.
struct MemberBook: Equatable, Sendable {
    private static let magic = Array("lanfs volume members 1\n".utf8)
    static let sizeLimit = Limits.messageSize

    private(set) var record: RootRecord?
    /// The likeliest first.
    private(set) var addresses: [ServerID: [String]] = [:]

    var config: VolumeConfig? { record?.config }

    /// Whether the record says more about the members than the one here. One that only has other contents does not.
    func isOlder(than other: RootRecord) -> Bool {
        guard let record else { return true }
        return (other.epoch, other.config.version) > (record.epoch, record.config.version)
    }

    /// Takes a record that is proven to be the volume's; false when the one here is as new.
    mutating func take(_ next: RootRecord) -> Bool {
        guard isOlder(than: next) else { return false }
        record = next
        addresses = addresses.filter { isMember($0.key) }
        return true
    }

    /// The server was there, or is said to be; false when that is no news.
    mutating func note(_ fresh: [String], of server: ServerID) -> Bool {
        guard isMember(server) else { return false }
        var merged: [String] = []
        for address in fresh + (addresses[server] ?? []) where !merged.contains(address) { merged.append(address) }
        let next = MemberEndpoints(server: server, addresses: merged).addresses
        defer { addresses[server] = next }
        return next != addresses[server] ?? []
    }

    func isMember(_ server: ServerID) -> Bool {
        record?.config.servers.contains { $0.server == server && $0.state != .gone } ?? false
    }

    /// The members that a member talks to; none where there is nobody else, or where `server` is not one of them.
    func others(of server: ServerID) -> [ServerID] {
        guard let record, isMember(server) else { return [] }
        return record.config.servers.filter { $0.server != server && $0.state != .gone }.map(\.server)
    }

    /// In the order of the servers.
    var endpoints: [MemberEndpoints] {
        addresses.sorted { $0.key < $1.key }.map { MemberEndpoints(server: $0.key, addresses: $0.value) }
    }

    // MARK: On disk

    var encoded: [UInt8] {
        var writer = ByteWriter(reserving: 4096)
        writer.append(raw: Self.magic)
        writer.append(optional: record) { $1.encode(into: &$0) }
        writer.append(list: endpoints) { $1.encode(into: &$0) }
        return writer.bytes + sha256(writer.bytes)
    }

    init() {}

    init(encoded bytes: [UInt8]) throws(DecodingError) {
        let body = Array(bytes.dropLast(sha256Size))
        guard body.starts(with: Self.magic), sha256(body) == Array(bytes.suffix(sha256Size)) else {
            throw .invalid(what: "the file of a volume's members")
        }
        var reader = ByteReader(body[Self.magic.count...])
        record = try reader.optional { (reader) throws(DecodingError) in try RootRecord(from: &reader) }
        for known in try MemberEndpoints.list(from: &reader) { addresses[known.server] = known.addresses }
        try reader.finish()
    }
}
