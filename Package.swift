// swift-tools-version: 6.3
import PackageDescription

// The rooms, lowest first; a room depends only on rooms above it in this list. Sources/README.md says what each knows.
//
// Tests/Fuzz/run sets LANFS_FUZZ and builds into a folder of its own: the rooms, not the packages they use, then tell
// libFuzzer where a run has been, and are fast without losing a check.
let isFuzzed = Context.environment["LANFS_FUZZ"] != nil
// Tests/simulate sets LANFS_SIMULATE and builds for release in a folder of its own: of all this only what it runs, as fast as it
// ships, with the mutants and every check.
let isSimulated = Context.environment["LANFS_SIMULATE"] != nil
let swift: [SwiftSetting] =
    [.swiftLanguageMode(.v6)] + (isFuzzed ? [.unsafeFlags(["-sanitize=fuzzer", "-O", "-assert-config", "Debug"])] : [])
    + (isSimulated ? [.define("DEBUG"), .unsafeFlags(["-enable-testing", "-assert-config", "Debug"])] : [])

// The release binary carries everything (libc, libfuse3, libsodium, the Swift runtime), so that it runs on any Linux
// of its architecture. Debug builds stay dynamic: they link in a tenth of the time.
let staticCompile: [SwiftSetting] = swift + [.unsafeFlags(["-static-stdlib"], .when(configuration: .release))]
let staticLink: [LinkerSetting] = [
    .unsafeFlags(["-static-executable", "-Xlinker", "-s"], .when(configuration: .release)),
    // swift-crypto brings FoundationEssentials in, whose static library does not name what it needs itself.
    .linkedLibrary("_FoundationCollections", .when(configuration: .release)),
    .linkedLibrary("_FoundationCShims", .when(configuration: .release)),
]

// Debug builds of what is run through millions of events or bytes: ten times as fast.
let optimized: [SwiftSetting] = [.unsafeFlags(["-O"], .when(configuration: .debug))]

let log: Target.Dependency = .product(name: "Logging", package: "swift-log")
let system: Target.Dependency = .product(name: "SystemPackage", package: "swift-system")
let nio: [Target.Dependency] = [
    .product(name: "NIOCore", package: "swift-nio"),
    .product(name: "NIOPosix", package: "swift-nio"),
]

let package = Package(
    name: "lanfs",
    products: [.executable(name: "lanfs", targets: ["lanfs"])],
    dependencies: [
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
        .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
    ],
    targets: [
        .systemLibrary(name: "CSodium"),
        .systemLibrary(name: "CFuse"),
        .systemLibrary(name: "CLinux"),
        .target(
            name: "LanfsCrypto", dependencies: ["CSodium", .product(name: "Crypto", package: "swift-crypto")],
            swiftSettings: swift),
        .target(name: "LanfsLocal", dependencies: [system], swiftSettings: swift),
        .target(
            name: "LanfsProtocol", dependencies: ["LanfsCrypto"], exclude: ["Repair/README.md"],
            swiftSettings: swift + optimized),
        .target(
            name: "LanfsTree",
            dependencies: ["LanfsProtocol"],
            swiftSettings: swift),
        .target(name: "LanfsFileSystem", dependencies: ["LanfsTree", system], swiftSettings: swift),
        .target(name: "LanfsStore", dependencies: ["LanfsProtocol", "CLinux", log, system], swiftSettings: swift),
        .target(name: "LanfsNetwork", dependencies: ["LanfsProtocol", log] + nio, swiftSettings: swift),
        .target(name: "LanfsServer", dependencies: ["LanfsLocal", "LanfsStore", "LanfsNetwork"], swiftSettings: swift),
        .target(
            name: "LanfsClient",
            dependencies: [
                "LanfsLocal", "LanfsFileSystem", "LanfsNetwork", system,
            ],
            swiftSettings: swift),
        .target(name: "LanfsMount", dependencies: ["LanfsClient", "LanfsNetwork", "CFuse"], swiftSettings: swift),
        .executableTarget(
            name: "lanfs", dependencies: ["CLinux", "LanfsServer", "LanfsClient", "LanfsMount", log, system] + nio,
            swiftSettings: staticCompile, linkerSettings: staticLink),

        // The loops that Tests/Benchmarks/run measures with.
        .executableTarget(name: "lanfs-benchmark", path: "Tests/Benchmarks/Helper", swiftSettings: swift),
        // A client that Tests/Benchmarks/scale fills a server with.
        .executableTarget(
            name: "lanfs-scale", dependencies: ["LanfsClient", "LanfsLocal", log, system] + nio,
            path: "Tests/Benchmarks/Scale", swiftSettings: swift),

        // What simulations share: seeds, and running many.
        .target(name: "TestSupport", path: "Tests/Support", swiftSettings: swift + optimized),
        .testTarget(name: "LanfsCryptoTests", dependencies: ["LanfsCrypto", "TestSupport"], swiftSettings: swift),
        .testTarget(name: "LanfsLocalTests", dependencies: ["LanfsLocal", system], swiftSettings: swift),
        .testTarget(
            name: "LanfsProtocolTests", dependencies: ["LanfsProtocol", "TestSupport"], swiftSettings: swift + optimized),
        .testTarget(name: "LanfsTreeTests", dependencies: ["LanfsTree", "TestSupport", system], swiftSettings: swift),
        .testTarget(name: "LanfsFileSystemTests", dependencies: ["LanfsFileSystem", "TestSupport"], swiftSettings: swift),
        .testTarget(name: "LanfsStoreTests", dependencies: ["CLinux", "LanfsStore", "TestSupport"], swiftSettings: swift),
        .testTarget(name: "LanfsNetworkTests", dependencies: ["LanfsNetwork", "TestSupport"], swiftSettings: swift),
        .testTarget(name: "LanfsServerTests", dependencies: ["LanfsServer", "TestSupport"], swiftSettings: swift),
        .testTarget(
            name: "LanfsClientTests", dependencies: ["LanfsClient", "LanfsServer", "TestSupport", log, system] + nio,
            swiftSettings: swift),
        // A file system in memory, as a program that tests and measurements mount and kill.
        .executableTarget(
            name: "MountFixture", dependencies: ["LanfsMount"], path: "Tests/MountFixture", swiftSettings: swift),
        .testTarget(name: "LanfsMountTests", dependencies: ["LanfsMount", "MountFixture"], swiftSettings: swift),
        .testTarget(name: "lanfsTests", dependencies: ["lanfs", "TestSupport"], swiftSettings: swift),
        // They compare many gigabytes.
        .testTarget(name: "EndToEndTests", dependencies: ["TestSupport", system], swiftSettings: swift + optimized),
    ]
)

if isSimulated {
    package.products = []
    package.dependencies.removeAll { dependency in
        if case .sourceControl(_, let location, _) = dependency.kind { !location.hasSuffix("/swift-system") } else { true }
    }
    let simulated = ["LanfsProtocol", "LanfsTree", "LanfsFileSystem", "TestSupport", "LanfsProtocolTests", "LanfsFileSystemTests"]
    package.targets.removeAll { !simulated.contains($0.name) }
    for target in package.targets where target.name == "LanfsProtocol" { target.dependencies = [] }
}

if isFuzzed {
    package.targets.append(
        .executableTarget(
            name: "lanfs-fuzz", dependencies: ["LanfsStore", "LanfsNetwork", "LanfsTree"],
            path: "Tests/Fuzz", exclude: ["run", "corpus"],
            swiftSettings: swift + [.enableExperimentalFeature("Extern")],
            linkerSettings: [.unsafeFlags(["-sanitize=fuzzer", "-use-ld=lld"])]))
}
