import LanfsCrypto
import LanfsLocal
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
}

extension RegisterQueries {
    private static let wait = Duration.seconds(5)

    /// M3: opens the next epoch from the keepers that are left.
    ///
    /// - Parameters:
    ///   - confirm: the person's word.
    ///   - mark: the sealed contents with the point in them.
    /// - Returns: the seal that ended the epoch before; `nil` when enough keepers answer, and nothing has to be forced.
    func recover(
        from record: RootRecord, confirm: (RecoveryNotice) -> Bool,
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
                survivor: name(of: recovery.server), lost: lost.map(name), commit: recovery.base.sequence)
            guard confirm(notice) else { throw .notRecovered }
            let seal = recovery.seal(
                contents: try mark(recovery.base.contents, recovery.point(signer)),
                ballot: recovery.base.ballot.next(for: sender, skipping: 1024), signer)
            guard seal.fits else { throw .damaged("the root record, too large to be stored,") }
            if try await bring(seal, to: recovery.server) { return seal }
            // Something was accepted there meanwhile: once more, on top of it.
        }
        throw .busy
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

extension Volume {
    /// Before a keeper that was away comes into the next epoch, where its record gives way: what a forced recovery left behind
    /// there is kept on this machine, and people are told.
    func keepLeftBehind(_ record: RootRecord, of server: ServerID) throws(VolumeError) {
        guard let point = current({ $0.chain.contents.recovery }),
            point.leavesBehind(record, VolumeSigner(key: key.signingKey))
        else { return }
        let name = "left-behind-\(record.sequence)-\(record.hash(VolumeSigner(key: key.signingKey)).hex.prefix(16))"
        let path = directories.state(ofVolume: id.hex).appending(name)
        do throws(LocalFileError) {
            try PrivateFile.write(record.encoded, to: path)
        } catch {
            throw .local(error)
        }
        log.warning(
            "the server \(fingerprint(of: server.bytes)) comes back with commit \(record.sequence), which the recovery by force left behind: the volume went on after commit \(point.sequence). Its root record is kept",
            metadata: ["file": "\(path)"])
    }

    /// F1, where keepers were lost.
    static func check(
        _ record: RootRecord, _ contents: RootContents, against memory: RootMemory, _ options: VolumeOptions,
        _ signer: VolumeSigner
    ) throws(VolumeError) {
        guard let newest = memory.newest else { return }
        if let point = contents.recovery, newest.isLeftBehind(by: point) {
            if options.recovery != nil { return }
            throw .leftBehind(seen: newest.sequence, recovered: point.sequence)
        }
        switch newest.judge(record, signer) {
        case .same, .child, .newer: return
        case .rolledBack:
            throw .rolledBack("it shows commit \(record.sequence), and commit \(newest.sequence) was seen here before")
        case .forked: throw .rolledBack("its commit \(record.sequence) is not the one that was seen here before")
        }
    }
}
