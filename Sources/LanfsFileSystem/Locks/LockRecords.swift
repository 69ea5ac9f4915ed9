import LanfsProtocol
import LanfsTree

/// The lock table as records of the tree (protocol.md section 4): who has the write lease has the newest, and leaves it there
/// for whoever has it next. One record for each lock and for each request that waits.
extension LockTable {
    public typealias Records = [Key: [UInt8]]

    public var records: Records {
        var records: Records = [:]
        for (place, locks) in held {
            for lock in locks { records[RecordKey.lock(place, start: lock.start, lock.owner).key] = lock.encoded(at: nil) }
        }
        for waiting in waiting {
            let key = RecordKey.lockRequest(waiting.ticket, waiting.lock.owner.session).key
            records[key] = waiting.lock.encoded(at: waiting.place)
        }
        return records
    }

    public init(_ records: Records) throws(DecodingError) {
        self.init()
        // In the order of the keys: requests in that of their tickets.
        for (key, value) in records.sorted(by: { $0.key < $1.key }) {
            switch RecordKey(key) {
            case .lock(let place, let start, let owner)?:
                var reader = ByteReader(value)
                add(try FileLock(from: &reader, of: owner, start: start), at: place)
                try reader.finish()
            case .lockRequest(let ticket, let session)?:
                add(try Self.request(value, ticket, of: session))
            default: throw .invalid(what: "the key of a lock")
            }
        }
    }

    private static func request(
        _ value: [UInt8], _ ticket: Ticket, of session: Incarnation
    ) throws(DecodingError) -> Waiting {
        guard ticket < .max else { throw .invalid(what: "the number of a request") }
        var reader = ByteReader(value)
        let place = try Place(from: &reader)
        let owner = FileLockOwner(session: session, number: try reader.integer())
        let start: UInt64 = try reader.integer()
        let lock = try FileLock(from: &reader, of: owner, start: start)
        try reader.finish()
        return Waiting(ticket: ticket, place: place, lock: lock)
    }

    /// What ``RecordKey`` says is such a record; used where trees are checked.
    static func check(_ key: RecordKey, _ value: [UInt8]) throws(DecodingError) {
        _ = try LockTable([key.key: value])
    }
}

extension FileLock {
    /// - Parameter place: of a request, whose key does not say where it is.
    fileprivate func encoded(at place: LockTable.Place?) -> [UInt8] {
        var writer = ByteWriter()
        if let place {
            place.encode(into: &writer)
            writer.append(owner.number)
            writer.append(start)
        }
        writer.append(RecordVersion.current)
        writer.append(kind.rawValue)
        writer.append(end)
        writer.append(pid)
        return writer.bytes
    }

    fileprivate init(from reader: inout ByteReader, of owner: FileLockOwner, start: UInt64) throws(DecodingError) {
        try reader.version(of: "a lock")
        guard let kind = FileLockKind(rawValue: try reader.integer()) else { throw .invalid(what: "the kind of a lock") }
        let end: UInt64 = try reader.integer()
        guard start <= end else { throw .invalid(what: "the range of a lock") }
        self.init(owner: owner, kind: kind, start: start, end: end, pid: try reader.integer())
    }
}

extension LockTable.Place {
    func encode(into writer: inout ByteWriter) {
        writer.append(space.rawValue)
        writer.append(inode)
    }

    init(from reader: inout ByteReader) throws(DecodingError) {
        guard let space = FileLockSpace(rawValue: try reader.integer()) else { throw .invalid(what: "the kind of a lock") }
        self.init(space: space, inode: try reader.integer())
    }
}

extension Transaction {
    public func lockRecords() throws(Interruption) -> LockTable.Records {
        let pairs = try collect(in: .locks, limit: .max) { key, value in (key, value) }
        return Dictionary(pairs) { _, last in last }
    }

    /// - Parameter old: what is in the tree.
    public mutating func setLocks(_ new: LockTable.Records, after old: LockTable.Records) {
        for key in old.keys.filter({ new[$0] == nil }).sorted() { remove(key) }
        for (key, value) in new.sorted(by: { $0.key < $1.key }) where old[key] != value { set(key, value) }
    }
}

/// Whether a change is one of the volume's locks.
public func concernsLocks(_ key: Key) -> Bool {
    [RecordKey.Kind.lock.rawValue, RecordKey.Kind.lockRequest.rawValue].contains(key.bytes.first)
}
