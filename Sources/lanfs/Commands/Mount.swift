import Glibc
import LanfsClient
import LanfsLocal
import LanfsMount
import LanfsServer
import Logging
import Synchronization

/// `lanfs mount`.
enum Mount {
    /// `readiness`: made by `Lanfs.main` before any thread was started; the parent waits for its word.
    static func run(_ options: MountOptions, _ readiness: Readiness) async throws(CommandError) -> ExitCode {
        do throws(MountError) {
            try MountSession.check(options.mountPoint.text, nonEmpty: options.nonEmpty)
        } catch {
            throw CommandError(error)
        }
        let session = ClientSession(options.client)
        let key = try session.key(whenMissing: options.embeddedServer != nil ? .make : .offer)
        // Watched from now on: connecting may take for ever.
        let mounted = Mutex<MountSession?>(nil)
        try Termination.watch { signal in
            // No signal's death: in the background the parent would take it for a crash.
            guard let mount = mounted.withLock({ $0 }) else { exit(128 + signal) }
            mount.unmount()
        }
        let server = try await startServer(options, session.log)
        let volume = try await session.open(key, .init(create: options.create), at: server?.asVolumeServer) { volume in
            volume.readOnly = options.readOnly
            volume.snapshot = options.snapshot?.text
            volume.replicas = options.copies?.number
            if options.recoverForce { volume.recovery = confirm }
            volume.memory = Int(clamping: options.cacheMemory.bytes)
        }
        let mount = try mount(volume, options)
        mounted.withLock { $0 = mount }
        volume.tellOfForeignChanges { [mount] in mount.expire($0) }
        do throws(MountError) {
            try await mount.waitUntilAnswering()
            try readiness.ready()
        } catch {
            mount.unmount()
            throw CommandError(error)
        }
        let end = await mount.waitUntilUnmounted()
        let outcome = await finish(volume, session)
        await server?.stop(within: .seconds(4))
        if case .failed(let errno) = end {
            throw CommandError(.failure, "the mount on \(mount.path) ended: \(errno)")
        }
        return outcome
    }

    /// M3. Whoever is at a terminal is asked once more; a script has said it by the option.
    private static func confirm(_ notice: RecoveryNotice) -> Bool {
        let lost = notice.lost.map { Printable.text(Array($0.utf8)) }.joined(separator: ", ")
        let survivor = Printable.text(Array(notice.survivor.utf8))
        StandardError.write(
            """
            lanfs mount: too few of the servers that vote on the volume's newest state answer.
            The volume would go on from \(survivor), after commit \(notice.commit), without \(lost).
            \(notice.seen.map { "This machine has seen commit \($0), which that server does not have: it would be lost.\n" } ?? "")\
            What only those had is not in it then, and clients that have seen it raise an alarm.
            If they may come back with their disks, start them instead.

            """)
        guard Terminal.isTerminal(STDIN_FILENO), let terminal = ControllingTerminal() else { return true }
        return terminal.ask("Go on without them?", suggestion: false)
    }

    private static func startServer(_ options: MountOptions, _ log: Logger) async throws(CommandError) -> Server? {
        guard let embedded = options.embeddedServer else { return nil }
        var serve = ServeOptions()
        serve.dataDirectory = embedded.dataDirectory
        serve.capacity = embedded.capacity
        serve.discoveryPort = options.client.discoveryPort
        return try await ServerRole.start(try ServerRole.configuration(serve), log)
    }

    private static func mount(_ volume: Volume, _ options: MountOptions) throws(CommandError) -> MountSession {
        do throws(MountError) {
            var settings = LanfsMount.MountOptions(
                volumeName: options.fileSystemName ?? String(volume.id.hex.prefix(16)))
            for word in options.kernelWords { try settings.apply(word) }
            settings.allowOther = options.access == .everyone
            settings.allowRoot = options.access == .ownerAndRoot
            settings.nonEmpty = options.nonEmpty
            settings.autoUnmount = options.autoUnmount
            settings.readOnly = options.readOnly
            return try MountSession.mount(volume, on: options.mountPoint.text, options: settings)
        } catch {
            throw CommandError(error)
        }
    }

    /// Nobody can reach the mount any more: what is acknowledged is saved, or it is said what could not be.
    private static func finish(_ volume: Volume, _ session: ClientSession) async -> ExitCode {
        do throws(CommandError) {
            try await session.close(volume)
            return .success
        } catch {
            session.log.critical("\(error.message)")
            return error.code
        }
    }
}

extension CommandError {
    fileprivate init(_ error: MountError) {
        let isMissing = if case .mountPointMissing = error { true } else { false }
        self.init(isMissing ? .notFound : .failure, error.description)
    }
}
