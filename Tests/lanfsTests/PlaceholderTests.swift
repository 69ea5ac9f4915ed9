import Testing
@testable import lanfs
@Test func placeholder() { #expect(1 + 1 == 2) }
