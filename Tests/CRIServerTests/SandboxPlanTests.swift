import CRIProtocol
import RuntimeModel
import Testing

@testable import CRIServer

@Suite struct SandboxPlanTests {
  private static func plan(_ change: (inout Runtime_V1_RunPodSandboxRequest) -> Void = { _ in }) throws -> SandboxPlan {
    var request = Runtime_V1_RunPodSandboxRequest()
    request.config.metadata.name = "web"
    request.config.metadata.namespace = "default"
    request.config.metadata.uid = "u1"
    change(&request)
    return try SandboxPlan(request, defaultParent: "/swiftlet")
  }

  @Test func nothingButMetadataIsNeeded() throws {
    let plan = try Self.plan()
    #expect(plan.cgroupParent == "/swiftlet" && plan.namespaces.pid == .pod && !plan.namespaces.hasHostNetwork)
  }

  @Test func kubeletsParentIsTakenAsItIs() throws {
    #expect(
      try Self.plan { $0.config.linux.cgroupParent = "/kubepods/burstable/podx/" }.cgroupParent
        == "/kubepods/burstable/podx")
  }

  /// What is refused, with the part of the text that names it (ATTACKS L30 among them).
  static let refused: [(String, @Sendable (inout Runtime_V1_RunPodSandboxRequest) -> Void)] = [
    ("metadata.name", { $0.config.metadata.name = "" }),
    ("metadata.namespace", { $0.config.metadata.namespace = "" }),
    ("metadata.uid", { $0.config.metadata.uid = "" }),
    ("metadata is missing", { $0.config.clearMetadata() }),
    ("config is missing", { $0.clearConfig() }),
    ("runtime_handler", { $0.runtimeHandler = "kata" }),
    ("cgroup_parent", { $0.config.linux.cgroupParent = "/a/../../x" }),
    ("cgroup_parent", { $0.config.linux.cgroupParent = "../x" }),
    ("cgroup_parent", { $0.config.linux.cgroupParent = "a" }),
    ("cgroup_parent", { $0.config.linux.cgroupParent = "/" + String(repeating: "a", count: 5000) }),
    ("cgroupfs", { $0.config.linux.cgroupParent = "/kubepods.slice/kubepods-podx.slice" }),
    ("hostname", { $0.config.hostname = String(repeating: "h", count: 65) }),
    ("log_directory", { $0.config.logDirectory = "logs" }),
    ("dns_config.servers", { $0.config.dnsConfig.servers = ["1.2.3.4\noptions x"] }),
    ("target", { $0.config.linux.securityContext.namespaceOptions.pid = .target }),
    ("userns_options", { $0.config.linux.securityContext.namespaceOptions.usernsOptions.mode = .pod }),
    ("run_as_group", { $0.config.linux.securityContext.runAsGroup.value = 5 }),
    ("localhost_ref", { $0.config.linux.securityContext.seccomp.localhostRef = "/x" }),
  ]

  @Test(arguments: refused.indices)
  func refusals(_ index: Int) {
    let (text, change) = Self.refused[index]
    #expect {
      try Self.plan(change)
    } throws: { error in
      "\(error)".lowercased().contains(text.lowercased())
    }
  }
}
