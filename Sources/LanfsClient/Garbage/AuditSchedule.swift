import LanfsFileSystem
import LanfsLocal
import LanfsProtocol
import SystemPackage

/// When this machine last audited a volume, or saw another do so, kept over restarts. Only how often depends on it, nothing's safety.
struct AuditSchedule: Sendable {
    private static let interval: Int64 = 24 * 60 * 60

    private let path: FilePath

    init(volume: VolumeID, directories: UserDirectories) {
        path = directories.state(ofVolume: volume.hex).appending("audited")
    }

    func isDue(at now: Timestamp) throws(LocalFileError) -> Bool {
        guard let bytes = try PrivateFile.read(path, limit: 64), bytes.count == 8 else { return true }
        let last = bytes.reduce(Int64(0)) { $0 << 8 | Int64($1) }
        // A clock that was put back must not put it off for ever.
        return now.seconds < last || now.seconds - last >= Self.interval
    }

    func noteDone(at now: Timestamp) throws(LocalFileError) {
        try PrivateFile.write(withUnsafeBytes(of: now.seconds.bigEndian) { Array($0) }, to: path)
    }
}

extension Volume {
    /// While the volume is mounted it is audited once a day by one of its machines, first when it has been mounted for ten
    /// minutes. Each audit raises the gcEpoch: one by every machine would make what stalled clients have sent old within hours.
    func auditDaily() {
        let schedule = AuditSchedule(volume: id, directories: directories)
        Task { [weak self] in
            var seen = self?.current { $0.chain.record.gcEpoch } ?? 0
            var pause = Duration.seconds(600)
            while (try? await Task.sleep(for: pause)) != nil {
                guard let self, !self.isClosed.load(ordering: .relaxed) else { return }
                pause = .seconds(600)
                do {
                    try await self.auditIfDue(by: schedule, since: seen)
                } catch {
                    pause = .seconds(3600)
                    self.log.warning("the daily audit could not finish, deleted no more, and is tried again: \(error)")
                }
                seen = self.current { $0.chain.record.gcEpoch }
            }
        }
    }

    /// - Parameter seen: the gcEpoch when this was last looked at. Where it is another by now, another machine has audited.
    func auditIfDue(by schedule: AuditSchedule, since seen: UInt64) async throws {
        guard servers.isReachable, try schedule.isDue(at: .now) else { return }
        // With the lease the root is the newest: of those that begin at one time the second sees what the first did.
        try await acquireLease()
        if current({ $0.chain.record.gcEpoch }) == seen {
            let report = try await audit()
            if report.sweptBlocks > 0 {
                log.notice(
                    "the daily audit found blocks that nothing refers to; the server deletes them in 24 hours",
                    metadata: ["blocks": "\(report.sweptBlocks)", "bytes": "\(report.sweptBytes)"])
            }
        }
        try schedule.noteDone(at: .now)
    }
}
