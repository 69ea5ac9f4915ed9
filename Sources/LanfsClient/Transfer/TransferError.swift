import SystemPackage

/// Why a transfer, or a part of it, did not happen.
public enum TransferError: Error, Sendable, CustomStringConvertible {
    case failed(action: String, TransferPlace, Errno)
    case notFound(TransferPlace)
    /// Several sources need a folder.
    case folderMissing(TransferPlace)
    case exists(TransferPlace)
    /// A folder among the sources, without `isRecursive`.
    case isFolder(TransferPlace)
    case folderInTheWay(TransferPlace)
    /// A device, a pipe or a socket.
    case specialInTheWay(TransferPlace)
    case notFolder(TransferPlace)
    /// Only a file can be written to standard output.
    case notFile(TransferPlace)
    /// Neither file, folder nor symbolic link.
    case special(TransferPlace)
    /// No space for the rest of the first; what came over is in the second.
    case noRoom(TransferPlace, kept: TransferPlace)
    case damagedTemporary(TransferPlace)
    /// Another transfer is writing it.
    case busy(TransferPlace)
    /// A part of it is only on servers that are away, which are among these.
    case incomplete(TransferPlace, away: [String])

    public var description: String {
        switch self {
        case .failed(let action, let place, let errno): "cannot \(action) \(place): \(errno)"
        case .notFound(let place): "there is no \(place)"
        case .folderMissing(let place):
            "there is no folder \(place), and several sources need one; a '/' behind its name lets it be made"
        case .exists(let place): "\(place) exists already; -f replaces it"
        case .isFolder(let place): "\(place) is a folder; -r takes it with all it contains"
        case .folderInTheWay(let place): "\(place) is a folder, and no file replaces a folder"
        case .specialInTheWay(let place):
            "\(place) is neither a file nor a symbolic link, and is not replaced; '-' writes to standard output"
        case .notFolder(let place): "\(place) is not a folder"
        case .notFile(let place): "\(place) is not a file, and only a file can be written to standard output"
        case .special(let place): "\(place) is neither a file, a folder nor a symbolic link, and is left out"
        case .noRoom(let place, let kept):
            "no space is left for the rest of \(place); what came over is in \(kept), and the same command goes on from "
                + "there; remove it if you give up"
        case .damagedTemporary(let place):
            "\(place), left by an interrupted transfer, is not what it should be; remove it and try again"
        case .incomplete(let place, let away):
            "\(place) cannot be read whole now: a part of it is only on servers that are away; "
                + (away.count == 1 ? "" : "one or more of ") + "\(away.joined(separator: ", ")) must come back"
        case .busy(let place): "another transfer is writing \(place); wait for it, or end it"
        }
    }

    /// The error of a copy that could not go on and left `temporary` behind.
    func leaving(_ temporary: TransferPlace, of target: TransferPlace) -> TransferError {
        switch self {
        case .failed(_, _, .noSpace), .failed(_, _, .diskQuotaExceeded): .noRoom(target, kept: temporary)
        default: self
        }
    }

    /// Whether what comes after in the same transfer would fail too: no room, no server, nothing to write to.
    public var endsTransfer: Bool {
        if case .noRoom = self { return true }
        guard case .failed(_, let place, let errno) = self else { return false }
        switch errno {
        case .noSpace, .diskQuotaExceeded, .readOnlyFileSystem, .brokenPipe: return true
        case .ioError, .timedOut, .interrupted:
            if case .volume = place { return true }
            return false
        default: return false
        }
    }
}

/// What a transfer tells about itself as it goes.
public struct TransferProgress: Sendable {
    public enum Kind: Sendable { case file, folder, link }

    public enum Event: Sendable {
        /// A file begins; `size` is `nil` when it is not known (standard input). `name`: in the volume or here, any bytes.
        case began(name: [UInt8], size: UInt64?)
        /// This many bytes more are done; `resumed` ones were done by an earlier, interrupted run.
        case moved(bytes: UInt64, resumed: Bool)
        case finished(Kind)
        /// This part was left out; the rest goes on.
        case skipped(TransferError)
    }

    public var report: @Sendable (Event) -> Void

    public init(report: @escaping @Sendable (Event) -> Void) {
        self.report = report
    }

    /// Does one part of a transfer; what fails in it is told and left out, unless everything after would fail as well.
    func attempting(_ part: () async throws(TransferError) -> Void) async throws(TransferError) {
        do throws(TransferError) {
            try await part()
        } catch {
            if error.endsTransfer { throw error }
            report(.skipped(error))
        }
    }
}

public struct TransferOptions: Sendable {
    /// For `VolumeOptions.memory`: every byte is wanted once, so more than reading ahead takes would only fill up.
    public static let memory = 32 << 20

    /// Folders with all they contain.
    public var isRecursive: Bool
    /// Existing targets are replaced.
    public var replaces: Bool

    public init(isRecursive: Bool, replaces: Bool) {
        self.isRecursive = isRecursive
        self.replaces = replaces
    }
}
