import LanfsCrypto
import LanfsProtocol
import LanfsStore
import Logging
import NIOCore
import Synchronization

/// The volumes on this server: who gets in, what each may use, and the work on their disks that nobody waits for.
final class Volumes: Sendable {
    static let maintenanceInterval = Duration.seconds(5)
    /// Everything is read and checked once in so long (protocol.md section 7).
    private static let scrubPeriod = Duration.seconds(30 * 24 * 3600)

    /// Bytes lent in all, and still free.
    struct Room: Sendable {
        var capacity: UInt64
        var free: UInt64
    }

    let admission: Admission
    /// `nil` once closed: then the data directory is another server's to take.
    private let directory: Mutex<StoreDirectory?>
    private let space: Space
    private let server: ServerID
    private let context: MemberContext
    private let threads: DiskThreads
    private let eventLoop: any EventLoop
    private let logger: Logger
    private let failures: DiskFailures
    private let served = Mutex<[VolumeID: ServedVolume]>([:])
    /// Held while a new volume's folder is made; `served` is not, so that lookups never wait for the disk.
    private let making = Mutex(())
    /// As of a few seconds ago, for answers that may not ask the disk.
    private let latestRoom: Mutex<Room>
    private let isClosing = Atomic<Bool>(false)

    /// Opens every volume that has a folder here; one that cannot be opened keeps no other from being served. Blocks.
    init(
        _ directory: StoreDirectory, admission: Admission, context: MemberContext, eventLoop: any EventLoop
    ) {
        self.directory = Mutex(directory)
        space = directory.space
        server = context.server
        self.context = context
        self.admission = admission
        threads = context.threads
        self.eventLoop = eventLoop
        logger = context.logger
        failures = context.failures
        latestRoom = Mutex(Room(capacity: 0, free: 0))
        for volume in directory.known() {
            do throws(StoreError) {
                _ = try open(volume)
            } catch {
                logger.error("a volume cannot be served: \(error)", metadata: ["volume": "\(volume)"])
            }
        }
        latestRoom.withLock { $0 = measureRoom() }
    }

    var count: Int { served.withLock { $0.count } }
    var room: Room { latestRoom.withLock { $0 } }

    /// For the log.
    var admissionText: String {
        switch admission.policy {
        case .anyVolumeOfTheLAN: "any volume of this network"
        case .listed: "\(admission.listedCount) listed"
        }
    }

    /// This server can be reached now: it looks for the other members of its volumes.
    func listening(at addresses: [String]) {
        context.own.set(addresses)
        for volume in all { volume.members.start() }
    }

    // MARK: Admission

    /// Whether the holder of this volume's key, which `proof` must show, may use this server. Blocks.
    func admit(
        _ volume: VolumeID, proof: [UInt8], handshakeHash: [UInt8], address: String
    ) -> Result<ServedVolume, Refusal> {
        // Before the list is looked at: who does not hold the key learns nothing about it.
        guard
            RegisterVerifier().isValid(
                signature: proof, of: sessionProof(handshakeHash: handshakeHash), by: volume)
        else { return .failure(Refusal(.badProof, "the proof of the volume's key is wrong")) }
        return admit(volume, address: address)
    }

    /// What is proven has to be allowed as well. Blocks.
    private func admit(_ volume: VolumeID, address: String) -> Result<ServedVolume, Refusal> {
        if isClosing.load(ordering: .acquiring) { return .failure(.closing) }
        followList()
        let known = self[volume]
        let decision = admission.decide(
            volume, isKnown: known != nil, knownVolumes: count, isLocal: { LocalNetworks.contain(address) })
        if case .refused(let reason) = decision {
            logger.debug("not admitted", metadata: ["volume": "\(volume)", "client": "\(address)"])
            return .failure(Refusal(.notAdmitted, reason))
        }
        if let known { return .success(known) }
        do throws(StoreError) {
            let made = try open(volume)
            logger.info("volume admitted", metadata: ["volume": "\(volume)", "client": "\(address)"])
            return .success(made)
        } catch {
            failures.report(error, "making a folder for volume \(volume)")
            return .failure(Refusal(error))
        }
    }

    /// Whether this server, which has proven its key, is another member of the volume: as the newest record says, the
    /// one known here or the one it sent. Blocks.
    func admit(
        _ member: ServerID, of volume: VolumeID, _ record: RootRecord, address: String
    ) -> Result<ServedVolume, Refusal> {
        if let known = self[volume] {
            // Nobody's word is taken before the newest record is: it may say that the asker is gone.
            guard known.members.learn(record), known.members.isMember(member) else { return .failure(.notMember) }
            return admit(volume, address: address)
        }
        // The volume is new here, or what was here is lost.
        var book = MemberBook()
        guard record.isSigned(for: volume, RegisterVerifier()), book.take(record), book.isMember(member),
            book.isMember(server)
        else { return .failure(.notMember) }
        let admitted = admit(volume, address: address)
        if case .success(let made) = admitted { made.members.chosen(record) }
        return admitted
    }

    /// The open volume, from its folder, which is made when missing.
    private func open(_ volume: VolumeID) throws(StoreError) -> ServedVolume {
        try making.withLock { (_) throws(StoreError) in
            if let known = served.withLock({ $0[volume] }) { return known }
            guard let directory = directory.withLock({ $0 }) else { throw .closed(path: "") }
            let blocks = try directory.volume(volume, quota: admission.quota(of: volume) ?? .max, create: true)
            let members = VolumeMembers(volume, blocks: blocks, context: context)
            let register = try openRegister(volume, blocks, in: directory, members)
            let made = ServedVolume(volume, blocks: blocks, register: register, members: members, failures: failures)
            served.withLock { $0[volume] = made }
            members.start()
            // Made while the server was being stopped: nobody else would tell it.
            if isClosing.load(ordering: .acquiring) { made.endWaiting() }
            return made
        }
    }

    private func openRegister(
        _ volume: VolumeID, _ blocks: BlockStore, in directory: StoreDirectory, _ members: VolumeMembers
    ) throws(StoreError) -> RegisterLane {
        let journal: KeeperJournal?
        do throws(StoreError) {
            journal = try directory.journal(for: volume) { state in
                // One that cannot even be read is for the lane to report, not to be passed over.
                guard let record = (try? KeeperState(encoded: state))?.accepted else { return true }
                return record.isSigned(for: volume, RegisterVerifier())
            }
        } catch {
            guard case .amnesiac = error else { throw error }
            // A5: its blocks are as good as ever, but it has no vote any more.
            logger.error("\(error)", metadata: ["volume": "\(volume)"])
            journal = nil
        }
        do throws(DecodingError) {
            return try RegisterLane(
                server: server, volume: volume, journal: journal, blocks: blocks, threads: threads, eventLoop: eventLoop,
                failures: failures
            ) { [weak members] record in members?.chosen(record) }
        } catch {
            throw .damaged(path: directory.path, reason: "the keeper's state of volume \(volume): \(error)")
        }
    }

    /// Takes the authorized file as it is now.
    private func followList() {
        guard admission.refresh() else { return }
        logger.info("the list of admitted volumes changed", metadata: ["admits": "\(admissionText)"])
        for volume in all { volume.blocks.setQuota(admission.quota(of: volume.id) ?? .max) }
    }

    subscript(volume: VolumeID) -> ServedVolume? { served.withLock { $0[volume] } }

    private var all: [ServedVolume] { served.withLock { Array($0.values) } }

    // MARK: Answers

    /// What the volume may use and uses; without one, the server as a whole. Blocks.
    func status(of volume: ServedVolume?) -> ServerStatus {
        let room = measureRoom()
        latestRoom.withLock { $0 = room }
        guard let volume else {
            return ServerStatus(capacity: room.capacity, free: room.free, usedByVolume: 0, blocks: 0)
        }
        let status = volume.blocks.status()
        let quota = admission.quota(of: volume.id) ?? .max
        return ServerStatus(
            capacity: min(room.capacity, quota), free: context.isWitness ? 0 : volume.blocks.room(),
            usedByVolume: status.usedBytes - min(status.usedBytes, status.quarantinedBytes), blocks: status.blocks,
            membership: volume.members.status)
    }

    /// Runs on event loops, hence knows the room as of a few seconds ago. `nil`: not enough of it.
    func answer(_ query: DiscoveryQuery, server: ServerID, port: UInt16, name: String) -> DiscoveryAnswer? {
        let room = room
        guard room.free >= query.need else { return nil }
        let holdsVolume =
            query.volumeToken != 0
            && served.withLock { Array($0.keys) }.contains {
                Discovery.token(volume: $0, nonce: query.nonce, RegisterVerifier()) == query.volumeToken
            }
        return DiscoveryAnswer(
            nonce: query.nonce, server: server, port: port, capacity: room.capacity, free: room.free,
            holdsVolume: holdsVolume, name: name)
    }

    private func measureRoom() -> Room {
        if context.isWitness { return Room(capacity: 0, free: 0) }
        let free = space.room()
        // With no capacity given, what the disk has is what is lent.
        let (sum, overflow) = space.used.addingReportingOverflow(free)
        return Room(capacity: min(space.capacity, overflow ? .max : sum), free: free)
    }

    // MARK: Work that nobody waits for

    /// Deletes what has left quarantine, tidies, checks a little of what is stored. Blocks.
    func maintain() {
        followList()
        for volume in all {
            do throws(StoreError) {
                for block in try volume.maintain(scrubbing: Self.maintenanceInterval / Self.scrubPeriod) {
                    logger.error("a block went bad on disk", metadata: ["volume": "\(volume.id)", "block": "\(block)"])
                }
            } catch {
                failures.report(error, "maintaining volume \(volume.id)")
            }
        }
        let room = measureRoom()
        latestRoom.withLock { $0 = room }
    }

    // MARK: The end

    /// Answers those who wait for news, and admits nobody any more.
    func endWaiting() {
        isClosing.store(true, ordering: .releasing)
        for volume in all { volume.endWaiting() }
    }

    /// Puts everything on disk and lets go of the data directory. Blocks.
    func close() {
        for volume in all {
            volume.members.stop()
            volume.members.saveSwept(isLast: true)
            do throws(StoreError) {
                try volume.register.settle()
            } catch {
                failures.report(error, "closing volume \(volume.id)")
            }
        }
        let closing = directory.withLock { directory in
            defer { directory = nil }
            return directory
        }
        do throws(StoreError) {
            try closing?.close()
        } catch {
            failures.report(error, "closing the store")
        }
    }
}
