import LanfsCrypto
import LanfsLocal
import LanfsNetwork
import LanfsProtocol
import Logging
import Synchronization
import SystemPackage

/// The clients this server has met, each with the secret that only the two know.
///
/// Answers from memory; the file follows in the background, whole, at most once a second. Losing it, or an entry, costs
/// a client one longer handshake, so a damaged file is no reason not to start, and only the newest 4096 are kept: every
/// stranger on the LAN can make one.
final class ClientPairings: Pairings {
    static let limit = 4096
    static let keySize = 32
    private static let magic = Array("lanfs pairings 1\n".utf8)

    /// All secrets in one guarded piece of memory: a `SharedSecret` each would be four pages each.
    fileprivate struct Table: ~Copyable {
        var secrets = SecretBytes(count: limit * keySize)
        /// Where a client's secret is.
        var slots: [ClientID: Int] = [:]
        /// By slot; `met` says which is the oldest.
        var clients: [ClientID] = []
        var met: [UInt64] = []
        var meetings: UInt64 = 0
        var isSaveScheduled = false
    }

    private let path: FilePath
    private let logger: Logger
    private let schedule: @Sendable (@escaping @Sendable () -> Void) -> Void
    private let table = Mutex(Table())

    /// `schedule` runs its argument once, a little later, on a thread that may block.
    init(
        _ path: FilePath, logger: Logger, schedule: @escaping @Sendable (@escaping @Sendable () -> Void) -> Void
    ) {
        self.path = path
        self.logger = logger
        self.schedule = schedule
        do {
            guard var file = try PrivateFile.read(path, limit: 1 << 20) else { return }
            defer { wipe(&file) }
            if !load(file) { logger.warning("the file of known clients is damaged; starting a new one", metadata: at) }
        } catch {
            logger.warning("the file of known clients is not used: \(error)")
        }
    }

    private var at: Logger.Metadata { ["path": "\(path)"] }

    var count: Int { table.withLock { $0.clients.count } }

    func pairwiseKey(with client: ClientID) -> SharedSecret? {
        table.withLock { table in
            guard let slot = table.slots[client] else { return nil }
            return table.secrets.withUnsafeBytes { secrets in
                let range = slot * Self.keySize..<(slot + 1) * Self.keySize
                return SharedSecret(copying: UnsafeRawBufferPointer(rebasing: secrets[range]))
            }
        }
    }

    func keep(_ pairwiseKey: SharedSecret, with client: ClientID) {
        guard pairwiseKey.count == Self.keySize else { return }
        let mustSchedule = table.withLock { table in
            pairwiseKey.withUnsafeBytes { table.keep($0, with: client) }
            defer { table.isSaveScheduled = true }
            return !table.isSaveScheduled
        }
        if mustSchedule { schedule { [weak self] in self?.save() } }
    }

    /// Writes the file if something is new.
    func save() {
        let file = table.withLock { table -> [UInt8]? in
            guard table.isSaveScheduled else { return nil }
            table.isSaveScheduled = false
            return table.encoded(magic: Self.magic)
        }
        guard var file else { return }
        defer { wipe(&file) }
        do {
            try PrivateFile.write(file, to: path)
        } catch {
            // Clients make a new pairing at their next contact after a restart; the server works without.
            logger.error("cannot save the known clients: \(error)")
        }
    }

    /// False when the bytes are not what `save` wrote.
    private func load(_ file: [UInt8]) -> Bool {
        let body = file.dropLast(sha256Size)
        let entrySize = ClientID.size + Self.keySize
        guard body.starts(with: Self.magic), sha256(Array(body)) == Array(file.suffix(sha256Size)),
            (body.count - Self.magic.count).isMultiple(of: entrySize)
        else { return false }
        return table.withLock { table in
            for start in stride(from: Self.magic.count, to: body.count, by: entrySize) {
                guard let client = ClientID(body[start..<start + ClientID.size]) else { return false }
                body.withUnsafeBytes { body in
                    let secret = body[start + ClientID.size..<start + entrySize]
                    table.keep(UnsafeRawBufferPointer(rebasing: secret), with: client)
                }
            }
            return true
        }
    }
}

extension ClientPairings.Table {
    mutating func keep(_ secret: UnsafeRawBufferPointer, with client: ClientID) {
        let slot = slots[client] ?? freeSlot()
        meetings += 1
        slots[client] = slot
        if slot == clients.count {
            clients.append(client)
            met.append(meetings)
        } else {
            clients[slot] = client
            met[slot] = meetings
        }
        secrets.withUnsafeMutableBytes { secrets in
            let range = slot * ClientPairings.keySize..<(slot + 1) * ClientPairings.keySize
            UnsafeMutableRawBufferPointer(rebasing: secrets[range]).copyMemory(from: secret)
        }
    }

    /// A new one, or that of the client met longest ago.
    private mutating func freeSlot() -> Int {
        if clients.count < ClientPairings.limit { return clients.count }
        let oldest = met.indices.min { met[$0] < met[$1] } ?? 0
        slots[clients[oldest]] = nil
        return oldest
    }

    /// Oldest first, so that reading it back meets them in the same order.
    borrowing func encoded(magic: [UInt8]) -> [UInt8] {
        let size = ClientPairings.keySize
        var file: [UInt8] = []
        file.reserveCapacity(magic.count + clients.count * (ClientID.size + size) + sha256Size)
        file += magic
        for slot in met.indices.sorted(by: { met[$0] < met[$1] }) {
            clients[slot].withUnsafeBytes { file.append(contentsOf: $0) }
            secrets.withUnsafeBytes { file.append(contentsOf: $0[slot * size..<(slot + 1) * size]) }
        }
        file += sha256(file)
        return file
    }
}
