import LanfsProtocol

/// The half of a store that keeps blocks, as the server uses it; another engine may stand behind it one day
/// (architecture.md 6).
public protocol BlockStorage: Sendable {
    func contains(_ id: BlockID) -> Bool
    func locate(_ id: BlockID) throws(StoreError) -> BlockLocation?
    func confirm(_ location: BlockLocation) -> Bool
    func read(_ id: BlockID, offset: Int, into buffer: UnsafeMutableRawBufferPointer, once: Bool) throws(StoreError)
    func readAtOnce(_ id: BlockID, offset: Int, into buffer: UnsafeMutableRawBufferPointer) -> Bool
    func put(
        _ id: BlockID, _ bytes: UnsafeRawBufferPointer, gcEpoch: UInt64, from source: BlockStore.BlockSource, once: Bool
    ) throws(StoreError) -> BlockStore.PutOutcome
    func mark() -> FlushMark
    func flush(_ mark: inout FlushMark) throws(StoreError)
    func touch(_ ids: [BlockID], gcEpoch: UInt64) throws(StoreError) -> [BlockID]
    func free(_ ids: [BlockID], gcEpoch: UInt64) throws(StoreError) -> Int
    func sweep(_ ids: [BlockID], gcEpoch: UInt64, cutoff: UInt64) throws(StoreError) -> Int
    func list(after: BlockID?, limit: Int) -> [StoredBlock]
    func status() -> BlockStoreStatus
    func room() -> UInt64
}

/// The half that keeps a keeper's register state.
public protocol RegisterStorage: Sendable {
    var recovered: KeeperJournal.Recovery { get }
    func append(_ state: [UInt8], carrying blocks: [CarriedBlock], meanwhile: () -> Void) throws(StoreError)
    func settle() throws(StoreError)
}

extension BlockStore: BlockStorage {}
extension KeeperJournal: RegisterStorage {}
