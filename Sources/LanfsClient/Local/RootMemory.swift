import LanfsLocal
import LanfsProtocol
import Synchronization
import SystemPackage

/// The last chosen root this machine has seen of one volume, on disk (F1), and the servers of the volume.
///
/// Written at most once a second and at the end: what a crash loses of it is a second of memory, not of data.
final class RootMemory: Sendable {
    private struct State {
        var newest: RollbackMemory?
        var servers: [ServerID] = []
        var writtenAt: ContinuousClock.Instant?
        var isWritten = true
    }

    private let path: FilePath
    private let state: Mutex<State>
    /// Held while the file is written: of two that save at the same time the later one has the newer root.
    private let file = Mutex(())

    init(volume: VolumeID, directories: UserDirectories) throws(LocalFileError) {
        path = directories.state(ofVolume: volume.hex).appending("root")
        var state = State()
        if let bytes = try PrivateFile.read(path, limit: 1 << 16), bytes.count > RollbackMemory.encodedSize {
            var rest = bytes.dropLast(RollbackMemory.encodedSize)
            state.newest = try? RollbackMemory(encoded: Array(bytes.suffix(RollbackMemory.encodedSize)))
            while let server = ServerID(rest.prefix(ServerID.size)) {
                state.servers.append(server)
                rest = rest.dropFirst(ServerID.size)
            }
        }
        self.state = Mutex(state)
    }

    var newest: RollbackMemory? { state.withLock { $0.newest } }
    /// Who kept the volume, as of the last time.
    var servers: [ServerID] { state.withLock { $0.servers } }

    /// - Returns: whether it is time to save, which waits for the disk.
    func note(_ memory: RollbackMemory, at servers: [ServerID]) -> Bool {
        state.withLock { state in
            state.newest = memory
            state.servers = servers
            state.isWritten = false
            let isDue = state.writtenAt.map { ContinuousClock.now - $0 > .seconds(1) } ?? true
            if isDue { state.writtenAt = .now }
            return isDue
        }
    }

    func save() throws(LocalFileError) {
        try file.withLock { _ throws(LocalFileError) in
            let bytes = state.withLock { state -> [UInt8]? in
                guard !state.isWritten, let newest = state.newest else { return nil }
                state.isWritten = true
                return state.servers.flatMap(\.bytes) + newest.encoded
            }
            if let bytes { try PrivateFile.write(bytes, to: path) }
        }
    }
}
