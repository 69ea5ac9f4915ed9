import LanfsFileSystem
import LanfsLocal
import LanfsProtocol
import SystemPackage

/// The sessions of one volume on this machine, each with a sign of life. A file without a name lives until its session
/// closes it; of a session that died, nobody else can tell.
struct LocalSessions: Sendable {
    private let folder: FilePath

    init(volume: VolumeID, directories: UserDirectories) {
        folder = directories.state(ofVolume: volume.hex).appending("sessions")
    }

    func begin(_ session: Incarnation) throws(LocalFileError) -> LifeSign { try LifeSign(path(of: session)) }

    /// Those that died without unmounting.
    func dead() throws(LocalFileError) -> [Incarnation] {
        try LifeSign.dead(in: folder).compactMap { name in
            guard name.utf8.count == 32, let number = UInt128(name, radix: 16) else { return nil }
            return Incarnation(number)
        }
    }

    /// Nothing of it is left.
    func forget(_ session: Incarnation) throws(LocalFileError) { try PrivateFile.remove(path(of: session)) }

    private func path(of session: Incarnation) -> FilePath { folder.appending(session.description) }
}

extension Incarnation {
    init(_ number: UInt128) {
        self.init(high: UInt64(truncatingIfNeeded: number >> 64), low: UInt64(truncatingIfNeeded: number))
    }
}

extension Volume {
    /// Deletes the files without a name that sessions of this machine had open when they died.
    func releaseDeadSessions() async {
        do throws(VolumeError) {
            try await releaseFilesOfTheDead()
        } catch {
            log.warning("files without a name of an earlier session stay for now: \(error)")
        }
    }

    private func releaseFilesOfTheDead() async throws(VolumeError) {
        let sessions = LocalSessions(volume: id, directories: directories)
        for session in try local({ () throws(LocalFileError) in try sessions.dead() }) {
            while try await releaseOrphans(of: session) {}
            try local { () throws(LocalFileError) in try sessions.forget(session) }
        }
    }

    private func local<Value>(_ body: () throws(LocalFileError) -> Value) throws(VolumeError) -> Value {
        do throws(LocalFileError) {
            return try body()
        } catch {
            throw .local(error)
        }
    }

    /// At the end nothing is open any more, whatever the kernel still thinks. What cannot be done now is done by the next
    /// session, which finds this one dead.
    func releaseOwnOrphans() async {
        guard lifeSign != nil else { return }
        do throws(VolumeError) {
            while try await releaseOrphans(of: orphanage) {}
        } catch {
            log.debug("files without a name are left for the next session to delete: \(error)")
        }
    }

    func endLifeSign() {
        do throws(LocalFileError) {
            try lifeSign?.end()
        } catch {
            log.warning("\(error)")
        }
    }

    /// Some at a time. Returns whether there may be more.
    private func releaseOrphans(of session: Incarnation) async throws(VolumeError) -> Bool {
        let orphans = try await runToEnd { (state) throws(Pause) in
            try state.read { (transaction) throws(Interruption) in try transaction.orphans(of: session, limit: 256) }
        }
        guard !orphans.isEmpty else { return false }
        try await runToEnd { (state) throws(Pause) in
            try state.changeWhenWritable { (transaction) throws(Interruption) in
                for orphan in orphans { try transaction.releaseOrphan(orphan, of: session) }
            }
            for orphan in orphans { state.discardDirty(of: orphan, chunks: 0..<UInt64.max) }
        }
        return true
    }
}
