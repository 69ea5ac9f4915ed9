import Testing
@testable import LanfsCrypto
