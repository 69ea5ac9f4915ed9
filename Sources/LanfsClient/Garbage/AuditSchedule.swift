import LanfsFileSystem
import LanfsLocal
import LanfsProtocol
import SystemPackage

/// When a volume was last audited, as far as this machine knows, kept over restarts: each audit raises the gcEpoch, so one that is
/// new here is that of another machine. Only how often depends on it, nothing's safety.
struct AuditSchedule: Sendable {
    private static let interval: Int64 = 24 * 60 * 60

    private let path: FilePath

    init(volume: VolumeID, directories: UserDirectories) {
        path = directories.state(ofVolume: volume.hex).appending("audited")
    }

    /// Never right after an audit of another machine, which the gcEpoch tells of, nor before ``begin(_:at:)``.
    func isDue(at now: Timestamp, _ gcEpoch: UInt64) throws(LocalFileError) -> Bool {
        guard let last = try read(), last.gcEpoch == gcEpoch else { return false }
        // A clock that was put back must not put it off for ever.
        return now.seconds < last.seconds || now.seconds - last.seconds >= Self.interval
    }

    /// The first time, and where another machine has audited, the day begins now.
    func begin(_ gcEpoch: UInt64, at now: Timestamp) throws(LocalFileError) {
        if try read()?.gcEpoch != gcEpoch { try note(gcEpoch, at: now) }
    }

    func note(_ gcEpoch: UInt64, at now: Timestamp) throws(LocalFileError) {
        var writer = ByteWriter(reserving: 16)
        writer.append(now.seconds)
        writer.append(gcEpoch)
        try PrivateFile.write(writer.bytes, to: path)
    }

    private func read() throws(LocalFileError) -> (seconds: Int64, gcEpoch: UInt64)? {
        guard let bytes = try PrivateFile.read(path, limit: 64) else { return nil }
        var reader = ByteReader(bytes)
        // What cannot be read says nothing.
        guard let seconds: Int64 = try? reader.integer(), let gcEpoch: UInt64 = try? reader.integer() else { return nil }
        return (seconds, gcEpoch)
    }
}

extension Volume {
    /// While the volume is mounted it is audited once a day by one of its machines. Each audit raises the gcEpoch: one by every
    /// machine would make what stalled clients have sent old within hours.
    func auditDaily() {
        let schedule = AuditSchedule(volume: id, directories: directories)
        Task { [weak self] in
            var pause = Duration.seconds(600)
            while (try? await Task.sleep(for: pause)) != nil {
                guard let self, !self.isClosed.load(ordering: .relaxed) else { return }
                pause = .seconds(600)
                do {
                    try await self.auditIfDue(by: schedule)
                } catch {
                    pause = .seconds(3600)
                    self.log.warning("the daily audit could not finish, deleted no more, and comes again in an hour or, where it had begun to delete, in a day: \(error)")
                }
            }
        }
    }

    func auditIfDue(by schedule: AuditSchedule) async throws {
        try schedule.begin(gcEpoch, at: .now)
        guard servers.isReachable, try schedule.isDue(at: .now, gcEpoch) else { return }
        // With the lease the root is the newest: of those that begin at one time the second sees what the first did.
        try await acquireLease()
        guard try schedule.isDue(at: .now, gcEpoch) else { return }
        // One that fails after it has raised the gcEpoch counts: others' turn is the next day, and so is this machine's.
        let report = try await audit()
        if report.sweptBlocks > 0 {
            log.notice(
                "the daily audit found blocks that nothing refers to; the server deletes them in 24 hours",
                metadata: ["blocks": "\(report.sweptBlocks)", "bytes": "\(report.sweptBytes)"])
        }
        try schedule.note(gcEpoch, at: .now)
    }

    private var gcEpoch: UInt64 { current { $0.chain.record.gcEpoch } }
}
