terraform {
  # 1.11 is the first version with write-only arguments, which keep secrets out of the state.
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source = "hashicorp/aws"
      # Exactly the version whose schema the tests use. There is no .terraform.lock.hcl in version control: its digests
      # are those of the registry's files, which cannot be reached where this is developed. `terraform providers lock
      # -platform=linux_amd64 -platform=darwin_arm64` writes one for you.
      version = "6.69.1"
    }
  }
}

provider "aws" {
  region = var.region

  default_tags {
    tags = local.tags
  }
}
