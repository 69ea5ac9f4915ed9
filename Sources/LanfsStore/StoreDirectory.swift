import Glibc
import LanfsProtocol
import Logging
import SystemPackage

/// A server's data directory: one folder for each volume, one process at a time, one budget of disk space for all.
///
///     lock                           held while a server runs, with its pid
///     reserve                        space that makes deletions work on a full disk
///     volumes/<hex id>/segments/     blocks
///     volumes/<hex id>/index.log     changes of blocks' states
///     volumes/<hex id>/scrub         how far the scrub is
///     volumes/<hex id>/keeper-a|b/   the register's two journals
///     volumes/<hex id>/keeper        says that there have been journals
///     volumes/<hex id>/members       the server's: who else keeps the volume
///     volumes/<hex id>/swept         the server's: what was removed lately
public final class StoreDirectory: Sendable {
    public struct Options: Sendable {
        /// Bytes lent to all volumes together.
        public var capacity: UInt64 = .max
        /// Bytes of the file system that stay free; nil: 1% of it, at least 64 MiB.
        public var keepFree: UInt64?
        /// Bytes held back for logs on a full disk.
        public var reserveSize: UInt64 = 8 << 20
        public var blocks = BlockStore.Options()

        public init() {}
    }

    public let path: FilePath
    public let space: Space
    private let options: Options
    private let hash: BlockHash
    private let clock: StoreClock
    private let logger: Logger
    private let lockFile: OpenFile
    private let volumes: Monitor<[VolumeID: Volume]>

    private enum Volume {
        /// Not opened yet; so many bytes by the file system's count.
        case onDisk(UInt64)
        case opening
        case open(BlockStore)
    }

    /// Takes the directory, making it if it is not there.
    ///
    /// - Throws: `StoreError.inUse` if another process has it.
    public init(
        _ path: FilePath, options: Options = Options(), hash: @escaping BlockHash, clock: StoreClock = .system,
        logger: Logger = Logger(label: "lanfs.store")
    ) throws(StoreError) {
        self.path = path
        self.options = options
        self.hash = hash
        self.clock = clock
        self.logger = logger
        try Disk.createDirectories(path)
        lockFile = try StoreDirectory.lock(path)
        try Disk.createDirectory(path.appending("volumes"))
        space = Space(
            folder: path, capacity: options.capacity, keepFree: options.keepFree, reserveSize: options.reserveSize)

        var known: [VolumeID: Volume] = [:]
        for name in try Disk.list(path.appending("volumes")) {
            guard let id = VolumeID(hex: name), id.hex == name else { continue }
            let bytes = StoreDirectory.diskUsage(path.appending("volumes").appending(name).appending("segments"))
            known[id] = .onDisk(bytes)
            space.count(bytes)
        }
        volumes = Monitor(known)
        space.onShortage { [weak self] bytes in self?.reclaimEarly(bytes) ?? 0 }
    }

    private static func lock(_ path: FilePath) throws(StoreError) -> OpenFile {
        let file = try OpenFile(path.appending("lock"), O_RDWR | O_CREAT, action: "create")
        guard try file.lock() else {
            let text = String(decoding: (try? file.read(at: 0, count: 20)) ?? [], as: UTF8.self)
            throw .inUse(path: path, pid: Int32(text.prefix { $0.isNumber }))
        }
        try file.truncate(to: 0)
        try file.write(Array("\(getpid())\n".utf8), at: 0)
        return file
    }

    private static func diskUsage(_ folder: FilePath) -> UInt64 {
        var bytes: UInt64 = 0
        for name in (try? Disk.list(folder)) ?? [] where name.hasSuffix(".seg") {
            bytes += (try? OpenFile(folder.appending(name), O_RDONLY).information().allocated) ?? 0
        }
        return bytes
    }

    /// The volumes that have a folder here, in id order.
    public func known() -> [VolumeID] {
        volumes.withLock { $0.keys.sorted() }
    }

    /// Bytes that may still be stored: for one volume, or for any that is new.
    public func room(for volume: VolumeID? = nil) -> UInt64 {
        let store = volume.flatMap { volume in
            volumes.withLock { volumes -> BlockStore? in
                if case .open(let store) = volumes[volume] { store } else { nil }
            }
        }
        return store?.room() ?? space.room()
    }

    /// The volume's blocks, opened on first use.
    ///
    /// - Parameters:
    ///   - quota: bytes it may use from now on; nil leaves what was set before.
    ///   - create: makes its folder if there is none; the caller has admitted it.
    /// - Throws: `StoreError.unknownVolume` if there is no folder and `create` is false.
    public func volume(_ id: VolumeID, quota: UInt64? = nil, create: Bool) throws(StoreError) -> BlockStore {
        enum Found {
            case open(BlockStore)
            case mustOpen(UInt64)
            case unknown
        }
        let found: Found = volumes.await { volumes in
            switch volumes[id] {
            case .open(let store): return .open(store)
            case .opening: return nil
            case .onDisk(let bytes):
                volumes[id] = .opening
                return .mustOpen(bytes)
            case nil:
                guard create else { return .unknown }
                volumes[id] = .opening
                return .mustOpen(0)
            }
        }
        switch found {
        case .unknown: throw .unknownVolume(id)
        case .open(let store):
            if let quota { store.setQuota(quota) }
            return store
        case .mustOpen(let estimate):
            do throws(StoreError) {
                var blocks = options.blocks
                blocks.quota = quota ?? blocks.quota
                let store = try BlockStore(
                    folder: folder(of: id), volume: id, options: blocks, space: space, hash: hash, clock: clock,
                    logger: logger)
                // Counted exactly now.
                space.release(estimate)
                volumes.update { $0[id] = .open(store) }
                return store
            } catch {
                let exists = Disk.exists(folder(of: id))
                volumes.update { $0[id] = exists ? .onDisk(estimate) : nil }
                throw error
            }
        }
    }

    /// The register's journals of a volume (A5).
    ///
    /// - Parameter isProven: whether a state found there may have been acknowledged; see `KeeperJournal`.
    /// - Throws: `StoreError.amnesiac` if it cannot be told what was acknowledged.
    public func journal(
        for id: VolumeID, isProven: KeeperJournal.StateProof = { _ in true }
    ) throws(StoreError) -> KeeperJournal {
        let folder = folder(of: id)
        let marker = folder.appending("keeper")
        try Disk.createDirectories(folder)
        let blocks = try volume(id, create: true)
        let mark = Monitor(blocks.mark())
        let journal = try KeeperJournal(
            folders: (folder.appending("keeper-a"), folder.appending("keeper-b")), volume: id,
            mayBeNew: !Disk.exists(marker), hash: hash, isProven: isProven,
            settle: { (carried, mayBeGone) throws(StoreError) in
                try mark.withLock { (mark) throws(StoreError) in
                    try blocks.settle(carried, mayBeGone: mayBeGone, since: &mark)
                }
            })
        // From now on "no journals" means that they were lost.
        if !Disk.exists(marker) { try Disk.replace(marker, with: []) }
        return journal
    }

    /// Maintenance of every open volume; one that fails does not keep the others from it.
    public func maintain() -> [VolumeID: Result<MaintenanceReport, StoreError>] {
        var results: [VolumeID: Result<MaintenanceReport, StoreError>] = [:]
        for store in openVolumes() {
            do throws(StoreError) {
                results[store.volume] = .success(try store.maintain())
            } catch {
                results[store.volume] = .failure(error)
            }
        }
        return results
    }

    /// Closes every volume; the directory stays locked until this object goes.
    public func close() throws(StoreError) {
        var failure: StoreError?
        for store in openVolumes() {
            do throws(StoreError) { try store.close() } catch { failure = failure ?? error }
        }
        if let failure { throw failure }
    }

    private func folder(of id: VolumeID) -> FilePath {
        path.appending("volumes").appending(id.hex)
    }

    private func openVolumes() -> [BlockStore] {
        volumes.withLock { volumes in
            volumes.values.compactMap { if case .open(let store) = $0 { store } else { nil } }
        }.sorted { $0.volume < $1.volume }
    }

    /// The volume with the most to give goes first.
    private func reclaimEarly(_ bytes: UInt64) -> UInt64 {
        var freed: UInt64 = 0
        let stores = openVolumes().map { ($0, $0.state.withLock { $0.reclaimableBytes }) }
        for (store, reclaimable) in stores.sorted(by: { $0.1 > $1.1 }) where reclaimable > 0 && freed < bytes {
            freed += store.reclaimEarly(bytes - freed)
        }
        return freed
    }
}
