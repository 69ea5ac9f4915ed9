import LanfsClient
import LanfsCrypto
import LanfsLocal
import LanfsNetwork
import LanfsProtocol
import Logging
import NIOPosix
import SystemPackage

/// What every client command does first: get the key, find the server, open the volume.
struct ClientSession: Sendable {
    let options: ClientOptions
    let directories = UserDirectories.current
    let group: MultiThreadedEventLoopGroup
    let log: Logger
    let pins: ServerPins

    init(_ options: ClientOptions) {
        self.options = options
        log = Logging.logger("lanfs", options.common.verbosity, normal: .notice)
        // One loop: sealing and opening, which cost the most, run on Swift's own threads.
        group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        pins = ServerPins(directories)
    }

    var finder: ServerFinder {
        ServerFinder(
            hosts: options.servers.map { .init(name: $0.host, port: $0.port.map(Int.init)) },
            discoveryPort: Int(options.discoveryPort.number), pins: pins, directories: directories, group: group)
    }

    /// Whether a volume that no server knows is made (F5).
    enum Making {
        /// There would be nothing to see in a new one.
        case never
        case ifKeyWasMadeHere
        case always

        /// `create`: the option of that name was given.
        init(create: Bool) { self = create ? .always : .ifKeyWasMadeHere }
    }

    /// Opens the volume of `key`. `at`: the server in this process, when there is one.
    func open(
        _ key: VolumeKey, _ making: Making, at embedded: VolumeServer? = nil, _ adjust: (inout VolumeOptions) -> Void = { _ in }
    ) async throws(CommandError) -> Volume {
        var volumeOptions = VolumeOptions()
        volumeOptions.timeout = options.timeout
        adjust(&volumeOptions)
        let isUser = if case .user = options.key { true } else { false }
        let origin = VolumeOrigin(directories)
        do throws(VolumeError) {
            guard let id = VolumeID(key.volumeID) else { throw .damaged("the volume key's public half") }
            let mayCreate = making == .always || making == .ifKeyWasMadeHere && origin.wasMadeHere(id)
            let finder = finder
            let places: [VolumeServer]
            if let embedded {
                places = [embedded] + ((try? await finder.servers(of: id, create: false)) ?? [])
            } else {
                places = try await finder.servers(of: id, create: mayCreate)
            }
            for place in places {
                log.debug(
                    "asking the server \(place.name) for the volume",
                    metadata: ["volume": "\(id)", "at": "\(place.endpoints.map(\.description).joined(separator: ", "))"])
            }
            let volume = try await Volume.open(
                key: key, at: places, create: mayCreate, options: volumeOptions, pins: pins, directories: directories,
                surroundings: finder.surroundings, group: group, log: log)
            origin.forget(id)
            log.debug("opened the volume")
            return volume
        } catch .unknownVolume where isUser {
            throw CommandError(
                .notFound,
                "no server here knows a volume of this user with this password. If it was typed right, start the volume's "
                    + "servers or name one with --server HOST; 'lanfs put' and 'lanfs mount' make it with --create")
        } catch .unknownVolume(let id) where making == .never {
            throw CommandError(
                .notFound,
                "no server here knows the volume \(id.hex.prefix(16)). If it is new, its first 'lanfs put' or 'lanfs mount' makes "
                    + "it; if it exists, start its servers or name one with --server HOST")
        } catch {
            throw CommandError(error)
        }
    }

    /// Saves, gives the lease back and disconnects.
    func close(_ volume: Volume, patience: Duration = .seconds(20)) async throws(CommandError) {
        let kept: KeptWork?
        do throws(VolumeError) {
            kept = try await volume.close(patience: patience)
        } catch {
            throw CommandError(error)
        }
        if let kept {
            throw CommandError(
                .failure,
                "the last changes could not be saved: \(kept.reason). They are kept in \(kept.path) and will be saved when the volume "
                    + "is next opened on this machine")
        }
    }

    // MARK: The key

    enum MissingKey {
        /// Say how to make one.
        case refuse
        /// Ask, when there is somebody to ask.
        case offer
        /// Make it and say where it is.
        case make
    }

    func key(whenMissing missing: MissingKey = .refuse) throws(CommandError) -> VolumeKey {
        switch options.key {
        case .user(let name): return try KeyMaking.derive(user: name, isNew: false)
        case .file(let reference):
            let keys = VolumeKeys(directories)
            do throws(KeyError) {
                return try keys.load(reference.text)
            } catch .missing(let path, let name) {
                let makes: Bool
                switch missing {
                case .refuse: makes = false
                case .make: makes = true
                case .offer:
                    makes = ControllingTerminal()?.ask("There is no volume key yet. Make one?", suggestion: true) ?? false
                }
                guard makes else { throw CommandError(.keyUnusable, KeyError.missing(path, name: name).description) }
                let key = KeyMaking.generate()
                let saved = try KeyMaking.save(key, as: reference.text, directories)
                if options.common.verbosity != .quiet {
                    StandardError.write(
                        "lanfs: made the volume key \(saved); whoever has it can read the volume, and nobody can "
                            + "without it: keep a copy, or the words that 'lanfs keygen --export' prints\n")
                }
                return key
            } catch {
                throw CommandError(.keyUnusable, error.description)
            }
        }
    }
}

extension KeyReference {
    /// As `VolumeKeys` takes it: a path has a slash.
    var text: String {
        switch self {
        case .named(let name): name
        case .file(let path):
            path.bytes.contains(UInt8(ascii: "/")) ? path.text : "./\(path.text)"
        }
    }
}

extension KeyReference {
    /// Where it is.
    func path(_ directories: UserDirectories) -> FilePath? { try? VolumeKeys(directories).path(of: text) }
}

extension CommandError {
    init(_ error: VolumeError) {
        let code: ExitCode =
            switch error {
            case .noServer: .noServer
            case .network(let network): network.isPermanent ? .serverRefused : .noServer
            case .timedOut: .noServer
            case .unknownVolume, .noSnapshot: .notFound
            case .alreadyExists: .alreadyExists
            case .refused(let refusal): refusal.reason == .full ? .noSpace : .serverRefused
            case .failed(.noSpace): .noSpace
            default: .failure
            }
        self.init(code, error.description)
    }

    init(_ error: TransferError) {
        let code: ExitCode =
            switch error {
            case .noRoom, .failed(_, _, .noSpace), .failed(_, _, .diskQuotaExceeded): .noSpace
            case .notFound, .folderMissing: .notFound
            case .exists: .alreadyExists
            case .incomplete: .noServer
            default: .failure
            }
        if case .failed(_, .standardOutput, .brokenPipe) = error {
            self = .readerGone
        } else {
            self.init(code, Printable.text(error.description.utf8))
        }
    }
}
