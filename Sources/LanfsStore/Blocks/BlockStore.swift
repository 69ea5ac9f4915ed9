import LanfsProtocol
import Logging
import SystemPackage

/// The blocks of one volume on this server's disk.
///
/// Append-only segment files under one folder, an index in memory, a log of state changes. Every call blocks, may be
/// made from any thread (from an event loop only `readAtOnce`), and holds no lock while it reads, writes or flushes block bytes.
///
/// Locks, always taken in this order: `scrubbing`, `log`, `sidecars`, `tail`, `state`.
public final class BlockStore: Sendable {
    /// The highest gcEpoch that can be stored.
    public static let epochLimit = BlockIndex.epochLimit

    public struct Options: Sendable {
        static let maximumSegmentSize: UInt64 = 1 << 32

        /// Bytes of one segment file, at most; up to 4 GiB.
        public var segmentSize: UInt64 = 256 << 20
        /// How long a freed block stays (G7).
        public var quarantine: Duration = .seconds(24 * 3600)
        /// Bytes this volume may use.
        public var quota: UInt64 = .max
        /// Segment files kept open for reading.
        public var openFiles = 128
        /// Bytes of `index.log` after which the sidecars are brought up to date.
        public var logSize: UInt64 = 16 << 20
        /// Runs what a put leaves to be done and nobody waits for: sealing the segment that it filled, with a flush.
        public var background: @Sendable (@escaping @Sendable () -> Void) -> Void = { $0() }
        /// For tests: as on a file system that cannot punch holes.
        var punchesHoles = true
        /// For tests: makes the flush of a file fail.
        var syncFault: @Sendable (FilePath) -> Errno? = { _ in nil }

        public init() {}
    }

    public enum PutOutcome: Equatable, Sendable {
        case stored
        /// It was here already; its gcEpoch is now the higher one, and it is out of quarantine.
        case present
    }

    /// Where a block comes from.
    public enum BlockSource: Sendable {
        /// What is small may be what it takes to delete something, and draws on the reserve when all else is full (section 7).
        case client
        /// A copy that another server makes.
        case member
        /// It was here before, and may be again whatever quota and capacity say now.
        case journal
    }

    public let folder: FilePath
    public let volume: VolumeID
    /// What was found wrong at the start and did not stop it.
    public let issues: [StoreIssue]

    let options: Options
    let quarantineSeconds: UInt64
    let space: Space
    let hash: BlockHash
    let logger: Logger
    let time: StoreTime
    let state: Monitor<StoreState>
    let tail: Monitor<Tail>
    let log: Monitor<StateLog>
    /// Held while sidecars are written.
    let sidecars = Monitor(())
    let flusher = Monitor(Flusher())
    /// Held while a step of it runs.
    let scrubbing: Monitor<LastingScrub>

    /// Opens the volume's folder, or creates it. Reads the log and the sidecars, and scans only what they do not cover.
    public init(
        folder: FilePath, volume: VolumeID, options: Options = Options(), space: Space,
        hash: @escaping BlockHash, clock: StoreClock = .system, logger: Logger = Logger(label: "lanfs.store")
    ) throws(StoreError) {
        self.folder = folder
        self.volume = volume
        self.space = space
        self.hash = hash
        self.logger = logger
        var options = options
        options.segmentSize = min(max(options.segmentSize, 2 << 20), Options.maximumSegmentSize)
        self.options = options
        let seconds = options.quarantine.components.seconds
        quarantineSeconds = UInt64(max(0, seconds))

        let recovery = try StoreRecovery(
            folder: folder, volume: volume, quarantine: quarantineSeconds, segmentSize: options.segmentSize,
            hash: hash, clock: clock)
        issues = recovery.issues
        time = recovery.time
        let newLog = try recovery.reopenLog()
        space.count(recovery.state.usedBytes)
        log = Monitor(newLog)
        tail = Monitor(recovery.tail)
        var initial = recovery.state
        initial.quota = options.quota
        state = Monitor(initial)
        scrubbing = Monitor(LastingScrub(folder))
        space.addStore()
        for issue in recovery.issues { logger.error("damage found on disk", metadata: ["where": "\(issue)"]) }
        do throws(StoreError) {
            if recovery.logIsDamaged { try rewriteLog() }
            try sealClosed()
            giveBackDead()
        } catch {
            space.release(state.withLock { $0.usedBytes })
            throw error
        }
    }

    deinit { space.removeStore() }

    // MARK: Reading

    public func contains(_ id: BlockID) -> Bool {
        state.withLock { $0.index.find(id) != nil }
    }

    /// Where the block is, so that the caller can read it straight into its own buffer; quarantined blocks are there
    /// until they are reclaimed.
    public func locate(_ id: BlockID) throws(StoreError) -> BlockLocation? {
        while true {
            enum Found {
                case nothing
                case location(BlockLocation)
                case closedFile(UInt32, FilePath)
            }
            let found: Found = state.withLock { state in
                guard let number = state.index.find(id) else { return .nothing }
                let entry = state.index.entry(number)
                guard let segment = state.segments[entry.segment] else { return .nothing }
                guard let file = segment.file else { return .closedFile(segment.number, segment.path) }
                return .location(BlockLocation(entry, file))
            }
            switch found {
            case .nothing: return nil
            case .location(let location): return location
            case .closedFile(let number, let path):
                let file: OpenFile
                do throws(StoreError) {
                    file = try OpenFile(path, SegmentFile.reading)
                } catch {
                    // Unlinked since we looked: look again. Still referred to: the error is real.
                    if error.errno == .noSuchFileOrDirectory, state.withLock({ $0.segments[number] == nil }) {
                        continue
                    }
                    throw error
                }
                state.withLock { $0.keepOpen(file, number, limit: options.openFiles) }
            }
        }
    }

    /// Whether what was read from there is the block: false when it was reclaimed or moved meanwhile.
    public func confirm(_ location: BlockLocation) -> Bool {
        state.withLock { $0.isStored(location) }
    }

    /// Fills `buffer` with the block's bytes from `offset` on.
    ///
    /// - Parameter once: nobody is expected to read them again soon: they need not stay in the page cache.
    public func read(
        _ id: BlockID, offset: Int = 0, into buffer: UnsafeMutableRawBufferPointer, once: Bool = false
    ) throws(StoreError) {
        while let location = try locate(id) {
            guard offset >= 0, offset <= location.length, buffer.count <= location.length - offset else {
                throw .outOfRange(id, offset: offset, length: buffer.count, blockLength: location.length)
            }
            let count = try location.file.read(at: UInt64(location.fileOffset) + UInt64(offset), into: buffer, once: once)
            guard confirm(location) else { continue }
            guard count == buffer.count else {
                throw .damaged(path: location.file.path, reason: "it ends within block \(id)")
            }
            return
        }
        throw .notFound(id)
    }

    /// As `read`, for event loops: waits for no lock and no disk. False when it would have to, or when there is no such
    /// range: `read` knows then.
    public func readAtOnce(_ id: BlockID, offset: Int, into buffer: UnsafeMutableRawBufferPointer) -> Bool {
        let location = state.withLockIfFree { state -> BlockLocation? in
            guard let number = state.index.find(id) else { return nil }
            let entry = state.index.entry(number)
            return state.segments[entry.segment]?.file.map { BlockLocation(entry, $0) }
        }
        guard let location, offset >= 0, offset <= location.length, buffer.count <= location.length - offset,
            location.file.readCached(at: UInt64(location.fileOffset) + UInt64(offset), into: buffer)
        else { return false }
        return state.withLockIfFree { $0.isStored(location) } ?? false
    }

    /// The whole block.
    public func read(_ id: BlockID) throws(StoreError) -> [UInt8] {
        guard let location = try locate(id) else { throw .notFound(id) }
        var failure: StoreError?
        let bytes = [UInt8](unsafeUninitializedCapacity: location.length) { buffer, filled in
            do throws(StoreError) {
                try read(id, into: UnsafeMutableRawBufferPointer(buffer.extracting(..<location.length)))
                filled = location.length
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
        return bytes
    }

    // MARK: Writing

    /// Stores a block whose bytes the caller has checked against its name (B1). Durable only after a `flush` (B2).
    ///
    /// - Throws: `StoreError.full` before anything is written; disk errors.
    @discardableResult
    public func put(
        _ id: BlockID, _ bytes: UnsafeRawBufferPointer, gcEpoch: UInt64
    ) throws(StoreError) -> PutOutcome {
        try put(id, bytes, gcEpoch: gcEpoch, from: .client)
    }

    @discardableResult
    public func put(
        _ id: BlockID, _ bytes: UnsafeRawBufferPointer, gcEpoch: UInt64, from source: BlockSource, once: Bool = false
    ) throws(StoreError) -> PutOutcome {
        guard bytes.count <= Limits.blockSize else { throw .tooLong(length: bytes.count, limit: Limits.blockSize) }
        guard gcEpoch <= BlockStore.epochLimit else { throw .epochTooHigh(gcEpoch) }
        let isPresent = try state.withLock { (state) throws(StoreError) in
            try state.checkWritable(folder)
            return state.refresh(id, gcEpoch: gcEpoch)
        }
        if isPresent { return .present }

        let span = RecordHeader.span(bytes.count)
        let mayDraw = source == .client && bytes.count <= Limits.carriedSize
        var drawn: UInt64 = 0
        if source == .journal { count(span) } else { drawn = try claim(span, mayDraw: mayDraw) }
        do throws(StoreError) {
            while true {
                let place = try reserve(span, mayDraw: mayDraw)
                drawn += place.drawn
                let header = RecordHeader(
                    id: id, gcEpoch: gcEpoch, length: UInt32(bytes.count), segment: place.segment,
                    page: UInt32(place.offset / Layout.page))
                try write(header, bytes, at: place, once: once)
                let outcome = state.withLock { $0.add(header) }
                if place.closedAnother { options.background { [self] in sealQuietly() } }
                switch outcome {
                case .stored: return .stored
                case .duplicate:
                    release(span, drawn: drawn)
                    return .present
                case .segmentFailed: continue
                }
            }
        } catch {
            release(span, drawn: drawn)
            throw error
        }
    }

    /// The volume's share: raises or lowers what it may use; blocks it has stay.
    public func setQuota(_ bytes: UInt64) {
        state.withLock { $0.quota = bytes }
    }

    public func status() -> BlockStoreStatus {
        state.withLock { state in
            BlockStoreStatus(
                usedBytes: state.usedBytes, blocks: UInt64(state.index.count - state.quarantinedCount),
                quarantinedBytes: state.quarantinedBytes, quarantinedBlocks: UInt64(state.quarantinedCount),
                segments: state.segments.count, indexMemory: state.index.footprint)
        }
    }

    /// Bytes this volume may still store, quarantined ones that would be reclaimed for it included. What is held back for
    /// small blocks is not: who is told of it would fill it with data.
    public func room() -> UInt64 {
        let (left, reclaimable) = state.withLock { state in
            (state.quotaLeft(isDrawing: false), state.reclaimableBytes)
        }
        return min(left, space.room()) + reclaimable
    }
}

/// Bytes and blocks of one volume.
public struct BlockStoreStatus: Equatable, Sendable {
    /// On disk: live and quarantined blocks with their headers and padding.
    public var usedBytes: UInt64
    public var blocks: UInt64
    public var quarantinedBytes: UInt64
    public var quarantinedBlocks: UInt64
    public var segments: Int
    /// Bytes of memory.
    public var indexMemory: Int
}

extension BlockLocation {
    init(_ entry: BlockIndex.Entry, _ file: OpenFile) {
        self.init(
            block: entry.id, length: Int(entry.length), gcEpoch: entry.gcEpoch,
            fileOffset: Int64(UInt64(entry.page) * Layout.page) + Int64(RecordHeader.size), segment: entry.segment,
            page: entry.page, file: file)
    }
}
