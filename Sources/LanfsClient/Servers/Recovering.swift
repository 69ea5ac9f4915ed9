import LanfsCrypto
import LanfsNetwork
import LanfsProtocol

/// What a person has to know before too few keepers make the volume go on (M3).
public struct RecoveryNotice: Sendable {
    /// The keeper it goes on from.
    public var survivor: String
    /// Keepers that do not answer.
    public var lost: [String]
    /// The newest commit that the survivor knows.
    public var commit: UInt64
    /// A commit that this machine has seen and the survivor does not have (F1).
    public var seen: UInt64?
}

extension RegisterQueries {
    private static let wait = Duration.seconds(5)

    /// M3: opens the next epoch from the keepers that are left.
    ///
    /// - Parameters:
    ///   - remembered: what this machine has seen (F1).
    ///   - confirm: the person's word.
    ///   - mark: the sealed contents with the point in them.
    /// - Returns: the seal that ended the epoch before; `nil` when enough keepers answer, and nothing has to be forced.
    func recover(
        from record: RootRecord, remembered: RollbackMemory?, confirm: (RecoveryNotice) -> Bool,
        marking mark: ([UInt8], RecoveryPoint) throws(VolumeError) -> [UInt8]
    ) async throws(VolumeError) -> RootRecord? {
        var (newest, epoch) = (record, record.epoch)
        for _ in 0..<16 {
            // Not only its keepers: this may be an old epoch's record, of a server that keeps the root no more.
            let members = newest.newestConfig.servers.map(\.server)
            servers.reach(members)
            await servers.connect(members.count, of: members, until: .now + Self.wait)
            if let later = await laterRecord(than: epoch) {
                (newest, epoch) = later
                continue
            }
            let place = RegisterPlace(of: newest, in: epoch)
            var survivors: [ForcedRecovery.Survivor] = []
            for server in place.keepers.members {
                guard case .record(let record, place.epoch)? = await standing(of: server) else { continue }
                survivors.append(.init(server: server, record: record))
            }
            guard ForcedRecovery.isNeeded(survivors, of: place.keepers) else { return nil }
            guard let recovery = ForcedRecovery(from: survivors, in: place.epoch) else {
                throw survivors.isEmpty ? .noServer : .movingKeepers
            }
            let lost = place.keepers.members.filter { server in !survivors.contains { $0.server == server } }
            let notice = RecoveryNotice(
                survivor: name(of: recovery.server), lost: lost.map(name), commit: recovery.base.sequence,
                seen: try remembered.flatMap { (memory) throws(VolumeError) in
                    try lacks(recovery.base, memory) ? memory.sequence : nil
                })
            guard confirm(notice) else { throw .notRecovered }
            let seal = recovery.seal(
                contents: try mark(recovery.base.contents, recovery.point(id: .random(in: .min ... .max), signer)),
                ballot: recovery.base.ballot.next(for: sender, skipping: 1024), signer)
            guard seal.fits else { throw .damaged("the root record, too large to be stored,") }
            if try await bring(seal, to: recovery.server) { return seal }
            // Something was accepted there meanwhile: once more, on top of it.
        }
        throw .busy
    }

    /// Whether what was seen is not an ancestor of this root.
    private func lacks(_ record: RootRecord, _ memory: RollbackMemory) throws(VolumeError) -> Bool {
        let recoveries = try Volume.contents(of: record, key: servers.setting.key).recoveries
        switch memory.judge(record, signer) {
        case .rolledBack, .forked: return true
        case .same, .child, .newer: return recoveries.relation(to: memory) != .sameSide
        }
    }

    private func name(of server: ServerID) -> String { servers.lane(of: server)?.link.name ?? fingerprint(of: server.bytes) }

    /// - Returns: false when the keeper has something else by now.
    private func bring(_ seal: RootRecord, to server: ServerID) async throws(VolumeError) -> Bool {
        let request = RegisterRequest(epoch: seal.epoch + 1, sender: sender, body: .recover(seal, next: nil))
        let answer = await withCheckedContinuation { continuation in
            transport(server, request) { continuation.resume(returning: $0) }
        }
        switch answer {
        case .response(let response):
            if response.verdict == .yes { return true }
            if case .refused(.occupied) = response.verdict { return false }
            if case .refused(.wrongEpoch) = response.verdict { return false }
            throw .damaged("the seal, which the server refused,")
        case .lost: throw .noServer
        case .refused(let refusal): throw .refused(refusal)
        }
    }
}

extension RegisterQueries {
    /// Whether a root is of another volume by now than what was seen here, after recoveries on two sides.
    func isElsewhere(_ record: RootRecord, _ memory: RollbackMemory?) -> Bool {
        // An older epoch's record is older, and no more is known of it.
        guard let memory, record.epochInForce >= memory.epoch, let contents = try? Volume.contents(of: record, key: servers.setting.key),
            contents.recoveries.relation(to: memory) == .otherSide
        else { return false }
        servers.setting.log.error(
            "the volume was recovered by force on two sides that did not know of each other: a server shows commit \(record.sequence) of the other one. Stop the servers of the side that is to go")
        return true
    }
}

extension Volume {
    /// F1.
    static func check(
        _ record: RootRecord, _ contents: RootContents, against memory: RollbackMemory?, _ options: VolumeOptions,
        _ signer: VolumeSigner, _ servers: Servers
    ) throws(VolumeError) {
        guard let memory else { return }
        // An epoch that ended, at a keeper that does not know it yet, is no other side: it is older.
        let relation = contents.recoveries.relation(to: memory)
        if record.epochInForce >= memory.epoch || relation != .otherSide {
            do throws(VolumeError) {
                try contents.recoveries.check(record, against: memory)
            } catch {
                guard options.recovery != nil else { throw error }
                return servers.setting.log.warning("a person accepts this: \(error)")
            }
        }
        switch memory.judge(record, signer) {
        case .same, .child, .newer: return
        case .rolledBack:
            let away = servers.awayNames
            let hope = away.isEmpty ? "" : "; servers that are away may have it: \(away)"
            throw .rolledBack("it shows commit \(record.sequence), and commit \(memory.sequence) was seen here before\(hope)")
        case .forked: throw .rolledBack("its commit \(record.sequence) is not the one that was seen here before")
        }
    }
}

extension RecoveryHistory {
    /// F1, where keepers were lost.
    func check(_ record: RootRecord, against memory: RollbackMemory) throws(VolumeError) {
        switch relation(to: memory) {
        case .sameSide: return
        case .leftBehind(let point): throw .leftBehind(seen: memory.sequence, recovered: point.sequence)
        case .otherSide: throw .otherSide(seen: memory.sequence, shown: record.sequence)
        }
    }
}
