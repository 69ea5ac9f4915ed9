import Glibc
import LanfsLocal
import LanfsProtocol
import Logging
import Synchronization
import SystemPackage

/// Which volumes may use this server (architecture.md section 2).
///
/// With no list any volume from this machine's own networks, within capacity and a quota each. Once the list, that is
/// the configuration and the authorized file together, holds one volume, only listed ones. That is never undone while
/// the server runs: a list that an editor empties for a moment must not open the server to everybody.
final class Admission: Sendable {
    enum Policy: Equatable, Sendable {
        case anyVolumeOfTheLAN
        case listed
    }

    enum Decision: Equatable, Sendable {
        /// Bytes it may use; `nil`: as much as the server has.
        case admitted(quota: UInt64?)
        case refused(reason: String)
    }

    /// Volumes that came without being listed, at most: each costs a folder and memory.
    static let unlistedVolumes = 256

    private struct State {
        var quotas: [VolumeID: UInt64?]
        var stamp: FileStamp?
    }

    private let file: FilePath?
    private let fixed: [ServerConfiguration.Allowance]
    private let unlistedQuota: UInt64?
    private let logger: Logger
    private let state: Mutex<State>

    /// Throws when the authorized file cannot be understood: a server that guesses whom to admit is worse than none.
    init(_ configuration: ServerConfiguration, logger: Logger) throws(ServerError) {
        file = configuration.authorizedFile
        fixed = configuration.allow
        unlistedQuota = configuration.unlistedQuota
        self.logger = logger
        let stamp = configuration.authorizedFile.flatMap { FileStamp($0) }
        var listed: [ServerConfiguration.Allowance] = []
        if let path = configuration.authorizedFile { listed = try Admission.read(path) }
        state = Mutex(State(quotas: Admission.merge(listed, configuration.allow), stamp: stamp))
    }

    var policy: Policy { state.withLock { $0.quotas.isEmpty ? .anyVolumeOfTheLAN : .listed } }
    var listedCount: Int { state.withLock { $0.quotas.count } }

    /// `isKnown`: the volume has a folder here already, as `knownVolumes` have, so it was admitted once. `isLocal`: it
    /// comes from one of this machine's own networks.
    func decide(_ volume: VolumeID, isKnown: Bool, knownVolumes: Int, isLocal: () -> Bool) -> Decision {
        let quotas = state.withLock { $0.quotas }
        if let quota = quotas[volume] { return .admitted(quota: quota) }
        guard quotas.isEmpty else {
            return .refused(
                reason: "this server admits only listed volumes; ask its owner for: lanfs serve --allow \(volume)")
        }
        if isKnown { return .admitted(quota: unlistedQuota) }
        guard isLocal() else {
            return .refused(
                reason: "this server takes new volumes only from its own network; ask its owner for: "
                    + "lanfs serve --allow \(volume)")
        }
        guard knownVolumes < Admission.unlistedVolumes else {
            return .refused(reason: "this server holds \(knownVolumes) volumes and takes no more without being told to")
        }
        return .admitted(quota: unlistedQuota)
    }

    /// Bytes that a volume may use; `nil`: as much as the server has.
    func quota(of volume: VolumeID) -> UInt64? { state.withLock { $0.quotas[volume] } ?? unlistedQuota }

    /// Reads the file again if it changed; true when the list did. Blocks.
    func refresh() -> Bool {
        guard let file else { return false }
        let stamp = FileStamp(file)
        guard state.withLock({ $0.stamp }) != stamp else { return false }
        do {
            let quotas = Admission.merge(try Admission.read(file), fixed)
            return state.withLock { state in
                state.stamp = stamp
                if quotas.isEmpty, !state.quotas.isEmpty {
                    logger.warning(
                        "the list of admitted volumes is empty now; those listed before stay admitted until a restart",
                        metadata: ["path": "\(file)"])
                    return false
                }
                defer { state.quotas = quotas }
                return state.quotas != quotas
            }
        } catch {
            state.withLock { $0.stamp = stamp }
            logger.error("the list of admitted volumes changed and cannot be used; the one before stays: \(error)")
            return false
        }
    }

    private static func read(_ path: FilePath) throws(ServerError) -> [ServerConfiguration.Allowance] {
        do {
            let text = try PrivateFile.read(path, limit: AuthorizedList.sizeLimit, secret: false)
            return try AuthorizedList.parse(text ?? [], path: path)
        } catch let error as AuthorizedListError {
            throw .authorizedFile(error)
        } catch {
            throw .authorizedFile(AuthorizedListError(path: path, line: 0, reason: "\(error)"))
        }
    }

    /// What was typed for this run comes before what the file says.
    private static func merge(
        _ file: [ServerConfiguration.Allowance], _ typed: [ServerConfiguration.Allowance]
    ) -> [VolumeID: UInt64?] {
        var quotas: [VolumeID: UInt64?] = [:]
        for allowance in file + typed { quotas[allowance.volume] = .some(allowance.quota) }
        return quotas
    }
}

/// Tells whether a file was changed: replaced, written, or cut.
private struct FileStamp: Equatable {
    let inode: UInt64
    let size: Int64
    let seconds: Int
    let nanoseconds: Int

    /// `nil`: there is no such file.
    init?(_ path: FilePath) {
        var status = stat()
        guard stat(path.string, &status) == 0 else { return nil }
        inode = UInt64(status.st_ino)
        size = Int64(status.st_size)
        seconds = Int(status.st_mtim.tv_sec)
        nanoseconds = Int(status.st_mtim.tv_nsec)
    }
}
