import LanfsMount
import LanfsServer

/// `lanfs serve`.
enum Serve {
    static func run(_ options: ServeOptions) async throws(CommandError) -> ExitCode {
        let log = Logging.logger("lanfs", options.common.verbosity, normal: .info)
        let configuration = try ServerRole.configuration(options)
        let server = try await ServerRole.start(configuration, log)
        try await Termination.wait()
        await server.stop(within: .seconds(4))
        return .success
    }
}
