import LanfsProtocol
import LanfsStore
import Logging
import SystemPackage

/// PROVISIONAL until the store's own folder lands.
final class ServerStore: Sendable {
    let space: Space
    private let folder: FilePath
    private let quarantine: Duration
    private let logger: Logger

    init(_ folder: FilePath, capacity: UInt64?, quarantine: Duration, logger: Logger) throws(StoreError) {
        self.folder = folder
        self.quarantine = quarantine
        self.logger = logger
        space = Space(folder: folder, capacity: capacity ?? .max)
    }

    func volumes() throws(StoreError) -> [VolumeID] { [] }

    func open(_ volume: VolumeID, quota: UInt64) throws(StoreError) -> (blocks: BlockStore, journal: KeeperJournal?) {
        var options = BlockStore.Options()
        options.quarantine = quarantine
        options.quota = quota
        let place = folder.appending("volumes").appending(volume.hex)
        let blocks = try BlockStore(
            folder: place, volume: volume, options: options, space: space, hash: blockHash, logger: logger)
        let journal = try KeeperJournal(
            folders: (place.appending("keeper-a"), place.appending("keeper-b")), volume: volume, hash: blockHash)
        return (blocks, journal)
    }

    func close() {}
}
